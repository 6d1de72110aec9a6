#include "core/sys/netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstring>

#include "core/sys/failure.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

constexpr size_t kRoom = 64 << 10;
constexpr int kPatience = 5'000;  // ms; the kernel answers within the call, or not at all

std::string receive(int socket) {
  std::string buffer(kRoom, '\0');
  if (!wait_readable(socket, kPatience)) throw Error(Fault::timeout, "the kernel does not answer over netlink");
  const auto n = check(::recv(socket, buffer.data(), buffer.size(), MSG_TRUNC), "recv(netlink)");
  if (static_cast<size_t>(n) > buffer.size()) throw Error(Fault::system, "a netlink message is too long");
  buffer.resize(static_cast<size_t>(n));
  return buffer;
}

// Calls `take(header, bytes)` for each whole message; false from it ends the walk.
template <typename Take>
bool each_message(std::string_view bytes, const Take& take) {
  while (bytes.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > bytes.size()) return true;
    if (!take(header, bytes.substr(0, header.nlmsg_len))) return false;
    bytes.remove_prefix(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), bytes.size()));
  }
  return true;
}

int error_of(std::string_view message) {
  int code = 0;
  if (message.size() >= sizeof(nlmsghdr) + sizeof code)
    std::memcpy(&code, message.data() + sizeof(nlmsghdr), sizeof code);
  return -code;
}

}  // namespace

UniqueFd open_netlink(int protocol) {
  return UniqueFd(check(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), "socket(AF_NETLINK)"));
}

namespace {

// False: what was listed changed meanwhile (NLM_F_DUMP_INTR), something may be missing or there twice.
bool try_dump(int protocol, uint16_t type, std::string_view request, std::vector<NetlinkMessage>& found) {
  const UniqueFd socket = open_netlink(protocol);
  nlmsghdr header{};
  header.nlmsg_len = static_cast<uint32_t>(sizeof header + request.size());
  header.nlmsg_type = type;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header.nlmsg_seq = 1;
  std::string message(reinterpret_cast<const char*>(&header), sizeof header);
  message.append(request);
  check(::send(socket.get(), message.data(), message.size(), 0), "send(netlink)");
  bool is_consistent = true;
  for (bool more = true; more;)
    more = each_message(receive(socket.get()), [&](const nlmsghdr& head, std::string_view bytes) {
      if (head.nlmsg_flags & NLM_F_DUMP_INTR) is_consistent = false;
      if (head.nlmsg_type != NLMSG_ERROR && head.nlmsg_type != NLMSG_DONE) {
        found.emplace_back(bytes);
        return true;
      }
      // The end has a number too (net/netlink/af_netlink.c, netlink_dump_done).
      const int code = error_of(bytes);
      if (code > 0 && code != ENOENT && code != EINVAL && code != EOPNOTSUPP) throw_code(code, "netlink dump");
      return false;
    });
  return is_consistent;
}

}  // namespace

std::vector<NetlinkMessage> netlink_dump(int protocol, uint16_t type, std::string_view request) {
  constexpr int kMostTries = 10;
  std::vector<NetlinkMessage> found;
  for (int i = 0; i < kMostTries; ++i) {
    found.clear();
    if (try_dump(protocol, type, request, found)) break;
  }
  return found;
}

int netlink_get(int socket, std::string_view message) {
  check(::send(socket, message.data(), message.size(), 0), "send(netlink)");
  int code = 0;
  each_message(receive(socket), [&](const nlmsghdr& head, std::string_view bytes) {
    if (head.nlmsg_type == NLMSG_ERROR) code = error_of(bytes);
    return false;
  });
  return code;
}

int send_netfilter_batch(int socket, std::string_view batch, size_t acknowledged) {
  check(::send(socket, batch.data(), batch.size(), 0), "send(netfilter)");
  int first = 0;
  while (acknowledged > 0)
    each_message(receive(socket), [&](const nlmsghdr& head, std::string_view bytes) {
      if (head.nlmsg_type != NLMSG_ERROR) return true;
      if (const int code = error_of(bytes); code != 0) {
        first = code, acknowledged = 0;  // the batch is undone as a whole
        return false;
      }
      if (acknowledged > 0) --acknowledged;
      return true;
    });
  return first;
}

}  // namespace mcr::sys
