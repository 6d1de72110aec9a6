#include "core/procfs/socket_diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <map>

namespace mcr::procfs {
namespace {

template <typename T>
std::optional<T> value_at(std::string_view bytes, size_t at = 0) {
  if (bytes.size() < sizeof(T) || at > bytes.size() - sizeof(T)) return std::nullopt;
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <typename T>
std::string bytes_of(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

// The body of the message and its attributes by type (the last of each).
template <typename Body>
std::optional<Body> split(std::string_view message, std::map<int, std::string_view>& attributes) {
  const auto body = value_at<Body>(message, NLMSG_HDRLEN);
  if (!body) return std::nullopt;
  size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(Body));
  while (const auto head = value_at<nlattr>(message, at)) {
    if (head->nla_len < NLA_HDRLEN || head->nla_len > message.size() - at) break;
    attributes[head->nla_type & NLA_TYPE_MASK] = message.substr(at + NLA_HDRLEN, head->nla_len - NLA_HDRLEN);
    at += NLA_ALIGN(head->nla_len);
  }
  return body;
}

}  // namespace

std::optional<UnixSocket> parse_unix_diag(std::string_view message) {
  std::map<int, std::string_view> attributes;
  const auto body = split<unix_diag_msg>(message, attributes);
  if (!body || body->udiag_family != AF_UNIX) return std::nullopt;
  UnixSocket found;
  found.inode = body->udiag_ino;
  found.type = body->udiag_type;
  found.state = body->udiag_state;
  if (attributes.contains(UNIX_DIAG_NAME)) found.name = attributes[UNIX_DIAG_NAME];
  if (const auto vfs = value_at<unix_diag_vfs>(attributes[UNIX_DIAG_VFS]))
    found.file_inode = vfs->udiag_vfs_ino, found.file_device = vfs->udiag_vfs_dev;
  if (const auto peer = value_at<uint32_t>(attributes[UNIX_DIAG_PEER])) found.has_peer = true, found.peer = *peer;
  const std::string_view icons = attributes[UNIX_DIAG_ICONS];
  for (size_t at = 0; at + 4 <= icons.size(); at += 4) found.pending.push_back(*value_at<uint32_t>(icons, at));
  if (const auto lengths = value_at<unix_diag_rqlen>(attributes[UNIX_DIAG_RQLEN]))
    found.queued = lengths->udiag_rqueue, found.backlog = lengths->udiag_wqueue;
  if (const auto closed = value_at<uint8_t>(attributes[UNIX_DIAG_SHUTDOWN])) found.shutdown = *closed;
  return found;
}

std::optional<InetSocket> parse_inet_diag(std::string_view message, int protocol) {
  std::map<int, std::string_view> attributes;
  const auto body = split<inet_diag_msg>(message, attributes);
  if (!body || (body->idiag_family != AF_INET && body->idiag_family != AF_INET6)) return std::nullopt;
  InetSocket found;
  const size_t length = body->idiag_family == AF_INET ? 4 : 16;
  found.inode = body->idiag_inode;
  found.family = body->idiag_family;
  found.protocol = protocol;
  found.state = body->idiag_state;
  found.local.assign(reinterpret_cast<const char*>(body->id.idiag_src), length);
  found.remote.assign(reinterpret_cast<const char*>(body->id.idiag_dst), length);
  found.local_port = ntohs(body->id.idiag_sport), found.remote_port = ntohs(body->id.idiag_dport);
  found.device = body->id.idiag_if;
  found.receive_queue = body->idiag_rqueue, found.send_queue = body->idiag_wqueue;
  if (const auto closed = value_at<uint8_t>(attributes[INET_DIAG_SHUTDOWN])) found.shutdown = *closed;
  found.sent_ago = value_at<uint32_t>(attributes[INET_DIAG_INFO], offsetof(tcp_info, tcpi_last_data_sent));
  return found;
}

std::optional<NetlinkSocket> parse_netlink_diag(std::string_view message) {
  std::map<int, std::string_view> attributes;
  const auto body = split<netlink_diag_msg>(message, attributes);
  if (!body || body->ndiag_family != AF_NETLINK) return std::nullopt;
  NetlinkSocket found;
  found.inode = body->ndiag_ino;
  found.protocol = body->ndiag_protocol;
  found.portid = body->ndiag_portid;
  found.remote_portid = body->ndiag_dst_portid, found.remote_group = body->ndiag_dst_group;
  found.groups = attributes[NETLINK_DIAG_GROUPS];
  return found;
}

std::string unix_diag_request() {
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0u;
  request.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
  return bytes_of(request);
}

std::string inet_diag_request(int family, int protocol) {
  inet_diag_req_v2 request{};
  request.sdiag_family = static_cast<uint8_t>(family);
  request.sdiag_protocol = static_cast<uint8_t>(protocol);
  request.idiag_ext = 1 << (INET_DIAG_SHUTDOWN - 1);
  request.idiag_states = ~0u;
  return bytes_of(request);
}

std::string tcp_diag_request(int family, uint32_t states) {
  inet_diag_req_v2 request{};
  request.sdiag_family = static_cast<uint8_t>(family);
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_ext = 1 << (INET_DIAG_INFO - 1);
  request.idiag_states = states;
  return bytes_of(request);
}

std::string netlink_diag_request() {
  netlink_diag_req request{};
  request.sdiag_family = AF_NETLINK;
  request.sdiag_protocol = NDIAG_PROTO_ALL;
  request.ndiag_show = NDIAG_SHOW_GROUPS;
  return bytes_of(request);
}

}  // namespace mcr::procfs
