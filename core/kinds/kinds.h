// The kinds there are; only registry.cc needs this list.
#pragma once

#include "core/kinds/kind.h"

namespace mcr::kinds {

const Kind* process_file_kind();
const Kind* path_only_kind();
const Kind* terminal_kind();
const Kind* pty_kind();
const Kind* character_device_kind();
const Kind* pipe_kind();
const Kind* memfd_kind();
const Kind* posix_queue_kind();
const Kind* regular_file_kind();
const Kind* external_kind();
const Kind* event_counter_kind();
const Kind* timer_file_kind();
const Kind* signal_file_kind();
const Kind* epoll_kind();
const Kind* pid_file_kind();
const Kind* inotify_kind();
const Kind* fanotify_kind();
const Kind* io_uring_kind();
const Kind* namespace_file_kind();
const Kind* unix_socket_kind();
const Kind* tcp_socket_kind();
const Kind* udp_socket_kind();
const Kind* netlink_socket_kind();
const Kind* packet_socket_kind();
const Kind* raw_socket_kind();

}  // namespace mcr::kinds
