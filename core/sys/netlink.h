// Requests to the kernel over netlink (netlink(7)). Throws Error unless said otherwise. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::sys {

UniqueFd open_netlink(int protocol);

// One message as it came, header and all; aligned as the kernel aligns it.
using NetlinkMessage = std::string;

// Asks for a dump (NLM_F_DUMP) and collects the answers until its end. `request` is what follows the header.
// nullopt-like: an empty list also when this kernel does not know the type (ENOENT, EINVAL, EOPNOTSUPP).
std::vector<NetlinkMessage> netlink_dump(int protocol, uint16_t type, std::string_view request);

// Sends one whole message that asks for one answer; returns 0, or the error number of the answer.
int netlink_get(int socket, std::string_view message);

// Sends a batch of nfnetlink messages (nf_tables(8)); returns 0 or the first error number of an answer.
// `acknowledged`: how many of the messages ask for an answer.
int send_netfilter_batch(int socket, std::string_view batch, size_t acknowledged);

}  // namespace mcr::sys
