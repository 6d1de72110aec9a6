#include "core/kinds/udp_queue.h"

#include <arpa/inet.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_sockets.h"
#include "core/sys/failure.h"
#include "core/sys/process.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr int kMemoryInfo = 55, kPeekOffset = 42;  // SO_MEMINFO (4.12), SO_PEEK_OFF
constexpr size_t kLongest = 65527;                 // of a datagram of IPv6, without options
constexpr size_t kLongestFour = 65507;
constexpr size_t kUdpHead = 8;

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

bool is_address_of(int domain, const std::string& address) {
  return is_inet_address(address) && (address.size() == sizeof(sockaddr_in)) == (domain == AF_INET);
}

size_t ip_size(const image::SocketMessage& message) {
  return plain_end(message.address()).size() - 2;
}

// Such an address means something together with an interface only.
bool is_link_local(const std::string& ip) {
  in6_addr six{};
  if (ip.size() != sizeof six) return false;
  std::memcpy(&six, ip.data(), sizeof six);
  return IN6_IS_ADDR_LINKLOCAL(&six);
}

uint32_t scope_of(const image::SocketMessage& message) {
  sockaddr_in6 sender{};
  if (message.address().size() != sizeof sender) return 0;
  std::memcpy(&sender, message.address().data(), sizeof sender);
  return sender.sin6_scope_id;
}

std::string loopback_ip(size_t size) {
  const uint32_t four = htonl(INADDR_LOOPBACK);
  return size == 4 ? bytes_of(four) : bytes_of(in6addr_loopback);
}

// A struct sockaddr_in or sockaddr_in6, by the length of `ip`.
std::string address_with(const std::string& ip, uint16_t port, uint32_t scope) {
  if (ip.size() == 4) {
    sockaddr_in four{};
    four.sin_family = AF_INET, four.sin_port = htons(port);
    std::memcpy(&four.sin_addr, ip.data(), ip.size());
    return bytes_of(four);
  }
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6, six.sin6_port = htons(port), six.sin6_scope_id = scope;
  std::memcpy(&six.sin6_addr, ip.data(), std::min(ip.size(), sizeof six.sin6_addr));
  return bytes_of(six);
}

// An address of ours to send it to: the one that the program would see, one of the interface by which it came (the
// kernel tells the program the interface that has the address, whatever way a packet came), or else the loopback's.
struct Target {
  std::string ip;
  uint32_t interface = 0;
};
std::optional<Target> target_of(const image::SocketMessage& message, const std::vector<sys::LocalAddress>& ours) {
  const size_t size = ip_size(message);
  const uint32_t scope = scope_of(message), interface = scope != 0 ? scope : message.interface();
  for (const sys::LocalAddress& one : ours)
    if (one.bytes == message.destination() && one.bytes.size() == size &&
        (one.interface == interface || (scope == 0 && !is_link_local(one.bytes))))
      return Target{one.bytes, one.interface};
  if (scope == 0 && size == 4 && message.destination().size() == 4 && message.destination()[0] == 127)
    return Target{message.destination(), 0};  // all of 127.0.0.0/8 is the loopback's
  for (const sys::LocalAddress& one : ours)
    if (one.bytes.size() == size && one.interface == interface) return Target{one.bytes, one.interface};
  if (scope != 0) return std::nullopt;
  return Target{loopback_ip(size), 0};
}

// A port that nobody else has, while it lives: so no other socket of the program's port gets what is meant for this
// one.
class PortOfItsOwn {
 public:
  PortOfItsOwn(int fd, int domain) : fd_(fd) {
    if (domain == AF_INET6) {
      only_six_ = sys::get_int_option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
      sys::set_int_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    }
    sys::bind_socket(fd, address_with(std::string(domain == AF_INET ? 4 : 16, '\0'), 0, 0));
    const std::string name = sys::socket_name(fd);
    port_ = static_cast<uint16_t>(static_cast<unsigned char>(name[2]) << 8 | static_cast<unsigned char>(name[3]));
  }
  ~PortOfItsOwn() {
    try {
      give_up();
    } catch (const Error&) {
    }
  }
  PortOfItsOwn(const PortOfItsOwn&) = delete;
  PortOfItsOwn& operator=(const PortOfItsOwn&) = delete;
  uint16_t number() const { return port_; }
  // A port that was not asked for by its number goes with the connection; the queue stays (connect(2), AF_UNSPEC).
  void give_up() {
    if (!std::exchange(is_held_, false)) return;
    sys::connect_socket(fd_, std::string(sizeof(sockaddr_in6), '\0'));
    if (only_six_ != 0) sys::set_int_option(fd_, IPPROTO_IPV6, IPV6_V6ONLY, only_six_);
  }

 private:
  int fd_, only_six_ = 0;
  uint16_t port_ = 0;
  bool is_held_ = true;
};

uint32_t memory_of_queue(int fd) {
  const auto info = sys::try_get_option(fd, SOL_SOCKET, kMemoryInfo, 64);
  if (!info || info->size() < sizeof(uint32_t)) throw Error(Fault::system, "its queue cannot be seen (SO_MEMINFO)");
  uint32_t bytes = 0;
  std::memcpy(&bytes, info->data(), sizeof bytes);
  return bytes;
}

// Looks at what arrives. A datagram without bytes must not be looked at: it would be passed over by later looks.
class Arrivals {
 public:
  explicit Arrivals(int fd) : fd_(fd), memory_(memory_of_queue(fd)) {}
  ~Arrivals() {
    const int none = -1;
    (void)sys::try_set_option(fd_, SOL_SOCKET, kPeekOffset, bytes_of(none));
  }
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;

  void wait_for(const image::SocketMessage& message) {
    constexpr int kPatience = 2'000;  // ms; the loopback delivers at once, but under load perhaps later
    for (int i = 0; memory_of_queue(fd_) <= memory_; ++i) {
      if (i == kPatience)
        throw Error(Fault::system, "it does not arrive over the loopback",
                    "see whether a firewall drops it (nft list ruleset), or its receive buffer is too small without "
                    "CAP_NET_ADMIN (net.core.rmem_max)");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    memory_ = memory_of_queue(fd_);
    compare(message);
    has_empty_ = has_empty_ || message.data().empty();
    bytes_ += message.data().size();
  }

 private:
  void compare(const image::SocketMessage& message) {
    const std::string& data = message.data();
    const size_t skipped = has_empty_ ? 1 : 0;  // one byte in, those without bytes are behind
    if (data.size() <= skipped) return;
    sys::set_int_option(fd_, SOL_SOCKET, kPeekOffset, static_cast<int>(bytes_ + skipped));
    const auto seen = sys::try_peek(fd_, kLongest + 1);
    if (!seen || seen->data != data.substr(skipped) || seen->address != message.address())
      throw Error(Fault::system,
                  fmt::format("something else arrives in its place, from {}",
                              seen ? describe_address(seen->address) : "nobody"),
                  "see whether a firewall changes packets of the loopback (nft list ruleset); or try again");
  }
  int fd_;
  uint32_t memory_;
  uint64_t bytes_ = 0;
  bool has_empty_ = false;
};

void send_datagram(const image::SocketMessage& message, int protocol, const Target& target, uint16_t port) {
  const std::string to = address_with(target.ip, port, is_link_local(target.ip) ? target.interface : 0);
  const PacketEnds ends = packet_ends(message.address(), to);
  PacketHead values;
  if (message.hops() != 0) values.hops = static_cast<uint8_t>(message.hops() - 1);
  values.traffic_class = static_cast<uint8_t>(message.traffic_class());
  const std::string ports = message.address().substr(2, 2) + to.substr(2, 2);
  send_packet(ends, datagram_packet(ends, protocol, ports, message.data(), values), 0);
}

}  // namespace

std::string datagram_packet(const PacketEnds& ends, int protocol, const std::string& ports, const std::string& data,
                            PacketHead values) {
  const size_t bytes = kUdpHead + data.size();
  // In UDP-Lite the length of the datagram stands here as well: its checksum covers it all (RFC 3828).
  const uint16_t length = htons(static_cast<uint16_t>(bytes)), none = 0;
  const std::string bare = ports + bytes_of(length) + bytes_of(none) + data;
  uint16_t sum = checksum(pseudo_header(ends, protocol, bytes) + bare);
  if (sum == 0) sum = 0xffff;  // zero would say that there is none (RFC 768)
  return ip_packet(ends, protocol, bare.substr(0, 6) + bytes_of(sum) + data, values);
}

void fill_udp_queue(int fd, const image::UdpSocket& socket) {
  if (socket.queue().empty()) return;
  const image::SocketCommon& common = socket.common();
  grow_socket_buffers(fd);
  // Where it was sent to is noted when it arrives, if anybody asks by then.
  for (const auto& [level, name] : {std::pair{IPPROTO_IP, IP_PKTINFO}, std::pair{IPPROTO_IPV6, IPV6_RECVPKTINFO}})
    if (const int value = int_option_of(common, level, name, 0); value != 0)
      sys::set_int_option(fd, level, name, value);
  const auto ours = sys::local_addresses();
  PortOfItsOwn port(fd, common.domain());
  Arrivals arrivals(fd);
  for (int i = 0; i < socket.queue_size(); ++i) {
    const image::SocketMessage& message = socket.queue(i);
    const Step step("datagram {} of {}, from {}", i + 1, socket.queue_size(), describe_address(message.address()));
    const auto target = target_of(message, ours);
    if (!target) throw Error(Fault::refused, fmt::format("interface {} has no address here", scope_of(message)));
    send_datagram(message, common.protocol(), *target, port.number());
    arrivals.wait_for(message);
  }
  port.give_up();
}

// A packet without a source address is given one by the raw socket (raw(7), IP_HDRINCL).
void require_senders(const image::UdpSocket& socket) {
  for (const auto& message : socket.queue())
    if (plain_end(message.address()).substr(0, ip_size(message)).find_first_not_of('\0') == std::string::npos)
      throw Error(Fault::refused, "a datagram without a sender's address waits in it, which cannot be put back",
                  "let the program receive it, and dump again");
}

void check_udp_record(const std::string& record, const image::UdpSocket& socket) {
  const auto bad = [&](const std::string& what) {
    throw Error(Fault::image, fmt::format("files.img: {}: {}", record, what),
                "the image is damaged or was made by a faulty program");
  };
  const image::SocketCommon& common = socket.common();
  check_socket_record(record, common);
  const int domain = common.domain();
  if (domain != AF_INET && domain != AF_INET6) bad(fmt::format("domain cannot be {}", domain));
  if (common.type() != SOCK_DGRAM) bad(fmt::format("type cannot be {}", common.type()));
  if (common.protocol() != IPPROTO_UDP && common.protocol() != IPPROTO_UDPLITE)
    bad(fmt::format("protocol cannot be {}", common.protocol()));
  if (!socket.local().empty() && !is_address_of(domain, socket.local())) bad("local cannot be so");
  if (!socket.remote().empty() && !is_address_of(domain, socket.remote())) bad("remote cannot be so");
  if (socket.shutdown() > 3) bad(fmt::format("shutdown cannot be {}", socket.shutdown()));
  for (const auto& message : socket.queue()) {
    if (!is_address_of(domain, message.address())) bad("a datagram that waits has no sender");
    if (message.data().size() > (ip_size(message) == 4 ? kLongestFour : kLongest))
      bad(fmt::format("a datagram of {} bytes", message.data().size()));
    if (!message.destination().empty() && message.destination().size() != ip_size(message))
      bad("destination cannot be so");
    if (message.hops() > 256) bad(fmt::format("hops cannot be {}", message.hops()));
    if (message.traffic_class() > 255) bad(fmt::format("traffic_class cannot be {}", message.traffic_class()));
    if (message.files_size() != 0) bad("a datagram with files");
  }
}

void check_udp_queue(const image::UdpSocket& socket, std::vector<Problem>& problems) {
  if (socket.queue().empty()) return;
  const std::string name = socket.local().empty() ? "udp socket" : describe_address(socket.local());
  const auto problem = [&](const std::string& what, const std::string& remedy) {
    problems.push_back({name, what, remedy});
  };
  if (!sys::has_capability(CAP_NET_RAW))
    problem("datagrams waited in it, which are put back with packets made by hand", "give mini-criu CAP_NET_RAW");
  const sys::LoopbackState loopback = sys::loopback_state();
  if (!loopback.is_up)
    problem("datagrams waited in it, which are put back over the loopback, and that is down", "ip link set lo up");
  const auto ours = sys::local_addresses();
  size_t longest = 0;
  for (const auto& message : socket.queue()) {
    longest = std::max(longest, (ip_size(message) == 4 ? 20 : 40) + kUdpHead + message.data().size());
    if (!target_of(message, ours))
      return problem(fmt::format("a datagram waited in it from {} on interface {}, which has no address of IPv6 here",
                                 describe_address(message.address()), scope_of(message)),
                     "restore where that interface is up");
    if (loopback.is_up && ip_size(message) == 16 && target_of(message, ours)->ip == loopback_ip(16) &&
        std::ranges::none_of(ours, [](const auto& one) { return one.bytes == loopback_ip(16); }))
      return problem("datagrams of IPv6 waited in it, and the loopback has no address of IPv6 here",
                     "sysctl net.ipv6.conf.lo.disable_ipv6=0");
  }
  if (longest > loopback.mtu)
    problem(fmt::format("a packet of {} bytes waited in it, and the loopback takes {}", longest, loopback.mtu),
            fmt::format("ip link set lo mtu {}", longest));
}

}  // namespace mcr::kinds
