// POSIX message queues (mq_overview(7)). Throws Error unless said otherwise. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::sys {

bool is_posix_queue(const std::string& door);  // door: a path of /proc that leads to an open file

struct PosixQueueAttributes {
  int64_t most_messages = 0, message_bytes = 0, waiting = 0;
};
PosixQueueAttributes queue_attributes(int fd);
// name: without the "/". nullopt: there is none of that name.
std::optional<UniqueFd> try_open_queue(const std::string& name, int flags);
UniqueFd make_queue(const std::string& name, int flags, const PosixQueueAttributes& attributes);  // O_EXCL, mode 0
bool try_remove_queue(const std::string& name);

}  // namespace mcr::sys
