// Whether this host has an address for a socket of the image. Restore, before anything is created.
#pragma once

#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/kinds/host_sockets.h"
#include "images/proto/sockets.pb.h"

namespace mcr::kinds {

// `foreign`: the program had it though its host had not (IP_FREEBIND).
void check_address(const std::string& local, bool foreign, std::vector<Problem>& problems);
// Of a socket to which nobody connects: whether another one has its port. Where somebody has it at some address, it is
// tried: only the kernel knows which of them may share it.
void check_datagram_port(const mcr::image::UdpSocket& socket, HostSockets& host, std::vector<Problem>& problems);

}  // namespace mcr::kinds
