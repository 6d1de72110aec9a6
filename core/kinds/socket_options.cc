#include "core/kinds/socket_options.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "core/base/log.h"
#include "core/sys/descriptor.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr size_t kMostOptions = 256, kLongestOption = 256, kMostInstructions = 4096;  // BPF_MAXINSNS
constexpr int kTcp = 6, kUdp = 17, kUdpLite = 136, kNetlink = 270, kPacket = 263, kRaw = 255, kIcmp6 = 58;
constexpr int kBufferLock = 72, kSendBufferForce = 32, kReceiveBufferForce = 33;  // SO_*; SO_BUF_LOCK: 5.15
constexpr int kReuseAddress = 2, kSendBuffer = 7, kReceiveBuffer = 8, kMaxSegment = 2, kCongestion = 13;
constexpr int kTransparent6 = 75;  // IPV6_TRANSPARENT

struct Row {
  int level, name;
  bool late = false;
};

// By the numbers of the kernel (asm-generic/socket.h, linux/in.h, in6.h, tcp.h, udp.h, netlink.h, if_packet.h): some
// are newer than the headers. Not here is what cannot be set, or is set while something else is done.
constexpr Row kRows[] = {
    // SO_DEBUG, DONTROUTE, BROADCAST, KEEPALIVE, OOBINLINE, NO_CHECK, PRIORITY, REUSEPORT
    {SOL_SOCKET, 1},
    {SOL_SOCKET, 5},
    {SOL_SOCKET, 6},
    {SOL_SOCKET, 9},
    {SOL_SOCKET, 10},
    {SOL_SOCKET, 11},
    {SOL_SOCKET, 12},
    {SOL_SOCKET, 15},
    // SO_BINDTODEVICE, SO_TIMESTAMP, SO_TIMESTAMPNS, SO_MARK, SO_TIMESTAMPING; 63 to 65: their successors
    {SOL_SOCKET, 25},
    {SOL_SOCKET, 29},
    {SOL_SOCKET, 35},
    {SOL_SOCKET, 36},
    {SOL_SOCKET, 37, true},  // SOF_TIMESTAMPING_OPT_ID: of a connection only when there is one
    {SOL_SOCKET, 63},
    {SOL_SOCKET, 64},
    {SOL_SOCKET, 65, true},
    // SO_RXQ_OVFL, WIFI_STATUS, NOFCS, SELECT_ERR_QUEUE, BUSY_POLL, MAX_PACING_RATE, ZEROCOPY, TXTIME
    {SOL_SOCKET, 40},
    {SOL_SOCKET, 41},
    {SOL_SOCKET, 43},
    {SOL_SOCKET, 45},
    {SOL_SOCKET, 46},
    {SOL_SOCKET, 47},
    {SOL_SOCKET, 60},
    {SOL_SOCKET, 61},
    // SO_PREFER_BUSY_POLL, BUSY_POLL_BUDGET, RESERVE_MEM, TXREHASH, RCVMARK, RCVPRIORITY
    {SOL_SOCKET, 69},
    {SOL_SOCKET, 70},
    {SOL_SOCKET, 73},
    {SOL_SOCKET, 74},
    {SOL_SOCKET, 75},
    {SOL_SOCKET, 82},
    // SO_REUSEADDR, LINGER, PASSCRED (which gives a socket a name when it is connected), RCVLOWAT, RCVTIMEO, SNDTIMEO,
    // PASSSEC, PASSPIDFD, PASSRIGHTS, PEEK_OFF
    {SOL_SOCKET, 2, true},
    {SOL_SOCKET, 13, true},
    {SOL_SOCKET, 16, true},
    {SOL_SOCKET, 18, true},
    {SOL_SOCKET, 20, true},
    {SOL_SOCKET, 21, true},
    {SOL_SOCKET, 34, true},
    {SOL_SOCKET, 76, true},
    {SOL_SOCKET, 83, true},
    {SOL_SOCKET, 42, true},
    // IP_TOS, TTL, HDRINCL, OPTIONS, RECVOPTS, RETOPTS, PKTINFO, MTU_DISCOVER, RECVERR, RECVTTL, RECVTOS
    {IPPROTO_IP, 1},
    {IPPROTO_IP, 2},
    {IPPROTO_IP, 3},
    {IPPROTO_IP, 4},
    {IPPROTO_IP, 6},
    {IPPROTO_IP, 7},
    {IPPROTO_IP, 8},
    {IPPROTO_IP, 10},
    {IPPROTO_IP, 11},
    {IPPROTO_IP, 12},
    {IPPROTO_IP, 13},
    // IP_FREEBIND, PASSSEC, TRANSPARENT, ORIGDSTADDR, MINTTL, NODEFRAG, CHECKSUM, BIND_ADDRESS_NO_PORT, RECVFRAGSIZE,
    // RECVERR_RFC4884
    {IPPROTO_IP, 15},
    {IPPROTO_IP, 18},
    {IPPROTO_IP, 19},
    {IPPROTO_IP, 20},
    {IPPROTO_IP, 21},
    {IPPROTO_IP, 22},
    {IPPROTO_IP, 23},
    {IPPROTO_IP, 24},
    {IPPROTO_IP, 25},
    {IPPROTO_IP, 26},
    // IP_MULTICAST_IF, TTL, LOOP, ALL, UNICAST_IF, LOCAL_PORT_RANGE
    {IPPROTO_IP, 32},
    {IPPROTO_IP, 33},
    {IPPROTO_IP, 34},
    {IPPROTO_IP, 49},
    {IPPROTO_IP, 50},
    {IPPROTO_IP, 51},
    // IPV6_CHECKSUM, FLOWINFO, UNICAST_HOPS, MULTICAST_IF, MULTICAST_HOPS, MULTICAST_LOOP, MTU_DISCOVER, RECVERR,
    // V6ONLY, MULTICAST_ALL, FLOWINFO_SEND, HDRINCL
    {IPPROTO_IPV6, 7},
    {IPPROTO_IPV6, 11},
    {IPPROTO_IPV6, 16},
    {IPPROTO_IPV6, 17},
    {IPPROTO_IPV6, 18},
    {IPPROTO_IPV6, 19},
    {IPPROTO_IPV6, 23},
    {IPPROTO_IPV6, 25},
    {IPPROTO_IPV6, 26},
    {IPPROTO_IPV6, 29},
    {IPPROTO_IPV6, 33},
    {IPPROTO_IPV6, 36},
    // IPV6_RECVPKTINFO, RECVHOPLIMIT, RECVHOPOPTS, RECVRTHDR, RECVDSTOPTS, RECVPATHMTU, DONTFRAG, RECVTCLASS, TCLASS,
    // AUTOFLOWLABEL, ADDR_PREFERENCES, MINHOPCOUNT, ORIGDSTADDR, TRANSPARENT, UNICAST_IF, RECVFRAGSIZE, FREEBIND
    {IPPROTO_IPV6, 49},
    {IPPROTO_IPV6, 51},
    {IPPROTO_IPV6, 53},
    {IPPROTO_IPV6, 56},
    {IPPROTO_IPV6, 58},
    {IPPROTO_IPV6, 60},
    {IPPROTO_IPV6, 62},
    {IPPROTO_IPV6, 66},
    {IPPROTO_IPV6, 67},
    {IPPROTO_IPV6, 70},
    {IPPROTO_IPV6, 72},
    {IPPROTO_IPV6, 73},
    {IPPROTO_IPV6, 74},
    {IPPROTO_IPV6, 75},
    {IPPROTO_IPV6, 76},
    {IPPROTO_IPV6, 77},
    {IPPROTO_IPV6, 78},
    // TCP_NODELAY, MAXSEG, KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, DEFER_ACCEPT, CONGESTION, THIN_LINEAR,
    // THIN_DUPACK, USER_TIMEOUT
    {kTcp, 1},
    {kTcp, kMaxSegment},
    {kTcp, 4},
    {kTcp, 5},
    {kTcp, 6},
    {kTcp, 7},
    {kTcp, 8},
    {kTcp, 9},
    {kTcp, kCongestion},
    {kTcp, 16},
    {kTcp, 17},
    {kTcp, 18},
    // TCP_FASTOPEN, NOTSENT_LOWAT, SAVE_SYN, FASTOPEN_CONNECT, FASTOPEN_NO_COOKIE, INQ, TX_DELAY, RTO_MAX_MS
    {kTcp, 23},
    {kTcp, 25},
    {kTcp, 27},
    {kTcp, 30},
    {kTcp, 34},
    {kTcp, 36},
    {kTcp, 37},
    {kTcp, 44},
    // TCP_CORK, WINDOW_CLAMP, QUICKACK
    {kTcp, 3, true},
    {kTcp, 10, true},
    {kTcp, 12, true},
    // UDP_CORK, NO_CHECK6_TX, NO_CHECK6_RX, SEGMENT, GRO; UDPLITE_SEND_CSCOV, RECV_CSCOV
    {kUdp, 1, true},
    {kUdp, 101},
    {kUdp, 102},
    {kUdp, 103},
    {kUdp, 104},
    {kUdpLite, 10},
    {kUdpLite, 11},
    // NETLINK_PKTINFO, BROADCAST_ERROR, NO_ENOBUFS, LISTEN_ALL_NSID, CAP_ACK, EXT_ACK, GET_STRICT_CHK
    {kNetlink, 3},
    {kNetlink, 4},
    {kNetlink, 5},
    {kNetlink, 8},
    {kNetlink, 10},
    {kNetlink, 11},
    {kNetlink, 12},
    // PACKET_AUXDATA, ORIGDEV, VERSION, RESERVE, LOSS, VNET_HDR, TIMESTAMP, TX_HAS_OFF, QDISC_BYPASS, IGNORE_OUTGOING
    {kPacket, 8},
    {kPacket, 9},
    {kPacket, 10},
    {kPacket, 12},
    {kPacket, 14},
    {kPacket, 15},
    {kPacket, 17},
    {kPacket, 19},
    {kPacket, 20},
    {kPacket, 23},
    // ICMP_FILTER, ICMPV6_FILTER
    {kRaw, 1},
    {kIcmp6, 1},
    // SO_LOCK_FILTER: when the filter is there
    {SOL_SOCKET, 44, true},
};

// Options of multicast, that a stream shows and does not take.
bool is_multicast(const Row& row) {
  return (row.level == IPPROTO_IP && ((row.name >= 32 && row.name <= 34) || row.name == 49)) ||
         (row.level == IPPROTO_IPV6 && ((row.name >= 17 && row.name <= 19) || row.name == 29));
}

bool may_have(const sys::SocketType& type, const Row& row) {
  if (type.type == SOCK_STREAM && is_multicast(row)) return false;
  const bool inet = type.domain == AF_INET || type.domain == AF_INET6;
  switch (row.level) {
    case SOL_SOCKET:
      return true;
    case IPPROTO_IP:
      return inet;
    case IPPROTO_IPV6:
      return type.domain == AF_INET6;
    case kTcp:
      return inet && type.type == SOCK_STREAM;
    case kUdp:
      return inet && type.type == SOCK_DGRAM && (type.protocol == kUdp || type.protocol == kUdpLite);
    case kUdpLite:
      return inet && type.protocol == kUdpLite;
    case kNetlink:
      return type.domain == AF_NETLINK;
    case kPacket:
      return type.domain == AF_PACKET;
    case kRaw:
      return type.domain == AF_INET && type.type == SOCK_RAW && type.protocol == IPPROTO_ICMP;
    case kIcmp6:
      return type.domain == AF_INET6 && type.type == SOCK_RAW && type.protocol == kIcmp6;
    default:
      return false;
  }
}

// A name may be read with a longer tail of zeros than it is set with.
std::string trimmed(const Row& row, std::string value) {
  const bool is_text = (row.level == SOL_SOCKET && row.name == 25) || (row.level == kTcp && row.name == kCongestion);
  if (is_text) value.resize(::strnlen(value.data(), value.size()));
  return value;
}

void add(image::SocketCommon& common, int level, int name, std::string value) {
  auto* option = common.add_options();
  option->set_level(level), option->set_name(name), option->set_value(std::move(value));
}

const Row* find_row(int level, int name) {
  const auto* found = std::ranges::find_if(kRows, [&](const Row& r) { return r.level == level && r.name == name; });
  return found == std::end(kRows) ? nullptr : found;
}

void set_one(int fd, const image::SocketOption& option, const Row& row) {
  const auto now = sys::try_get_option(fd, option.level(), option.name());
  if (now && trimmed(row, *now) == option.value()) return;
  if (const int code = sys::try_set_option(fd, option.level(), option.name(), option.value()); code != 0)
    throw Error(
        Fault::system,
        fmt::format("its option {} of level {} cannot be set: {}", option.name(), option.level(), sys::code_name(code)),
        code == EPERM ? "give mini-criu CAP_NET_ADMIN" : "", code);
}

// Without CAP_NET_ADMIN up to the limits of the system only.
void set_buffer_size(int fd, int name, int force_name, int value) {
  const std::string_view bytes(reinterpret_cast<const char*>(&value), sizeof value);
  if (sys::try_set_option(fd, SOL_SOCKET, force_name, bytes) != 0) sys::set_option(fd, SOL_SOCKET, name, bytes);
}

// The kernel keeps double of what it is told (socket(7)).
void set_buffer(int fd, int name, int force_name, int value) {
  if (sys::get_int_option(fd, SOL_SOCKET, name) == value) return;
  set_buffer_size(fd, name, force_name, value / 2);
}

}  // namespace

int int_option_of(const image::SocketCommon& common, int level, int name, int otherwise) {
  for (const auto& option : common.options())
    if (option.level() == level && option.name() == name && option.value().size() == sizeof(int)) {
      int value = 0;
      std::memcpy(&value, option.value().data(), sizeof value);
      return value;
    }
  return otherwise;
}

void dump_socket(int fd, const struct stat& status, image::SocketCommon& common) {
  const sys::SocketType type = sys::type_of_socket(fd);
  common.set_inode(status.st_ino);
  common.set_uid(status.st_uid), common.set_gid(status.st_gid), common.set_mode(status.st_mode & 07777);
  common.set_domain(type.domain), common.set_type(type.type), common.set_protocol(type.protocol);
  for (const int name : {kSendBuffer, kReceiveBuffer, kBufferLock})
    if (auto value = sys::try_get_option(fd, SOL_SOCKET, name)) add(common, SOL_SOCKET, name, *value);
  for (const Row& row : kRows) {
    if (!may_have(type, row)) continue;
    if (auto value = sys::try_get_option(fd, row.level, row.name))
      if (!value->empty() || row.name == 25) add(common, row.level, row.name, trimmed(row, std::move(*value)));
  }
  const auto filter = sys::try_get_filter(fd);
  if (!filter)
    throw Error(Fault::refused, "an eBPF program filters what it receives (SO_ATTACH_BPF)",
                "such a program cannot be read: let the program take it off before the dump");
  common.set_filter(*filter);
}

void check_socket_record(const std::string& record, const image::SocketCommon& common) {
  const auto bad = [&](const std::string& what) {
    throw Error(Fault::image, fmt::format("files.img: {}: {}", record, what),
                "the image is damaged or was made by a faulty program");
  };
  if (common.options_size() > static_cast<int>(kMostOptions)) bad("it has too many options");
  for (const auto& option : common.options())
    if (option.value().size() > kLongestOption) bad(fmt::format("its option {} is too long", option.name()));
  if (common.filter().size() % sizeof(sock_filter) != 0 ||
      common.filter().size() > kMostInstructions * sizeof(sock_filter))
    bad("its filter is no program");
  if (common.inode() == 0) bad("inode cannot be 0");
}

void grow_socket_buffers(int fd) {
  constexpr int kRoom = 256 << 20;
  set_buffer_size(fd, kSendBuffer, kSendBufferForce, kRoom);
  set_buffer_size(fd, kReceiveBuffer, kReceiveBufferForce, kRoom);
}

void shrink_receive_buffer(int fd, const image::SocketCommon& common) {
  set_buffer(fd, kReceiveBuffer, kReceiveBufferForce, int_option_of(common, SOL_SOCKET, kReceiveBuffer, 0));
}

void set_socket_options(int fd, const image::SocketCommon& common, OptionTime time) {
  const bool late = time == OptionTime::late;
  if (!late) {
    const struct stat status = sys::stat_fd(fd);
    if (status.st_uid != common.uid() || status.st_gid != common.gid())
      sys::set_ownership(fd, common.uid(), common.gid());
    if ((status.st_mode & 07777) != common.mode()) sys::set_mode(fd, common.mode());
  } else {
    set_buffer(fd, kSendBuffer, kSendBufferForce, int_option_of(common, SOL_SOCKET, kSendBuffer, 0));
    set_buffer(fd, kReceiveBuffer, kReceiveBufferForce, int_option_of(common, SOL_SOCKET, kReceiveBuffer, 0));
    for (const auto& option : common.options())
      if (option.level() == SOL_SOCKET && option.name() == kBufferLock)
        (void)sys::try_set_option(fd, SOL_SOCKET, kBufferLock, option.value());
    if (!common.filter().empty())
      if (const int code = sys::try_attach_filter(fd, common.filter()); code != 0)
        sys::throw_code(code, "attach its filter");
  }
  for (const auto& option : common.options()) {
    const Row* row = find_row(option.level(), option.name());
    if (row && row->late == late) set_one(fd, option, *row);
  }
}

namespace {

// The others that are not for everybody want CAP_NET_ADMIN, or are content with it.
int capability_for(const image::SocketOption& option) {
  const bool is_raw = option.level() == SOL_SOCKET ? option.name() == SO_BINDTODEVICE
                                                   : option.level() == IPPROTO_IPV6 && option.name() != kTransparent6;
  return is_raw ? CAP_NET_RAW : CAP_NET_ADMIN;
}

std::string describe(const image::SocketOption& option) {
  constexpr struct {
    int level, name;
    const char* text;
  } kNames[] = {{SOL_SOCKET, 1, "SO_DEBUG"},           {SOL_SOCKET, 12, "SO_PRIORITY"},
                {SOL_SOCKET, 25, "SO_BINDTODEVICE"},   {SOL_SOCKET, 36, "SO_MARK"},
                {SOL_SOCKET, 46, "SO_BUSY_POLL"},      {SOL_SOCKET, 69, "SO_PREFER_BUSY_POLL"},
                {SOL_SOCKET, 75, "SO_RCVMARK"},        {IPPROTO_IP, 19, "IP_TRANSPARENT"},
                {kTcp, kCongestion, "TCP_CONGESTION"}, {IPPROTO_IPV6, kTransparent6, "IPV6_TRANSPARENT"}};
  std::string text = fmt::format("option {} of level {}", option.name(), option.level());
  for (const auto& known : kNames)
    if (known.level == option.level() && known.name == option.name()) text += fmt::format(" ({})", known.text);
  return text;
}

bool is_forbidden(int code) {
  return code == EPERM || code == EACCES;
}

}  // namespace

const OptionRights::Fresh& OptionRights::fresh(const sys::SocketType& type) {
  auto [found, is_new] = fresh_.try_emplace({type.domain, type.type, type.protocol});
  if (!is_new) return found->second;
  try {
    const UniqueFd fd = sys::make_socket(type);
    const struct stat status = sys::stat_fd(fd.get());
    found->second.uid = status.st_uid, found->second.gid = status.st_gid;
    for (const Row& row : kRows)
      if (may_have(type, row))
        if (auto value = sys::try_get_option(fd.get(), row.level, row.name))
          found->second.options[{row.level, row.name}] = trimmed(row, std::move(*value));
  } catch (...) {
    fresh_.erase(found);
    throw;
  }
  return found->second;
}

std::vector<OptionRights::Forbidden> OptionRights::find(const sys::SocketType& type,
                                                        const image::SocketCommon& common) {
  const Fresh& usual = fresh(type);
  const bool is_own = common.uid() == usual.uid && common.gid() == usual.gid;
  std::vector<const image::SocketOption*> wanted;
  for (const bool late : {false, true})
    for (const auto& option : common.options()) {
      const Row* row = find_row(option.level(), option.name());
      if (!row || row->late != late) continue;
      const auto now = usual.options.find({option.level(), option.name()});
      if (now == usual.options.end() || now->second != option.value()) wanted.push_back(&option);
    }
  std::vector<Forbidden> forbidden;
  if (wanted.empty() && is_own) return forbidden;
  const UniqueFd probe = sys::make_socket(type);
  for (const auto* option : wanted)
    if (is_forbidden(sys::try_set_option(probe.get(), option->level(), option->name(), option->value())))
      forbidden.push_back({describe(*option), capability_for(*option)});
  if (!is_own) try {
      sys::set_ownership(probe.get(), common.uid(), common.gid());
    } catch (const Error& error) {
      if (!is_forbidden(error.code())) throw;
      forbidden.push_back({fmt::format("the owner {}:{}", common.uid(), common.gid()), CAP_CHOWN});
    }
  return forbidden;
}

bool is_own_address(const std::string& address) {
  sa_family_t family = 0;
  std::memcpy(&family, address.data(), sizeof family);
  const UniqueFd probe = sys::make_socket({family, SOCK_DGRAM, 0});
  std::string any_port = address;
  any_port[2] = any_port[3] = 0;
  return sys::try_bind_socket(probe.get(), any_port) != EADDRNOTAVAIL;
}

int try_bind_inet(int fd, const std::string& address, bool foreign) {
  constexpr int kFreebind6 = 78;  // IPV6_FREEBIND
  sa_family_t family = 0;
  std::memcpy(&family, address.data(), sizeof family);
  const int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, name = family == AF_INET ? IP_FREEBIND : kFreebind6;
  const int before = foreign ? sys::get_int_option(fd, level, name) : 1;
  if (before == 0) sys::set_int_option(fd, level, name, 1);
  const int code = sys::try_bind_socket(fd, address);
  if (before == 0) sys::set_int_option(fd, level, name, 0);
  return code;
}

}  // namespace mcr::kinds
