#include "core/sys/tcp.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"

namespace mcr::sys {
namespace {

constexpr int kSilence = 60'000;  // milliseconds without a word of the other host's kernel
constexpr int kBacklog = 16;
constexpr int kAgain = 200;  // milliseconds

struct FreeList {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeList>;

Addresses find(const TcpPlace& place, bool to_listen) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_NUMERICSERV | (to_listen ? AI_PASSIVE : 0);
  addrinfo* list = nullptr;
  const std::string port = fmt::to_string(place.port);
  const int code = ::getaddrinfo(place.host.c_str(), port.c_str(), &wanted, &list);
  if (code == EAI_AGAIN) throw_code(EAGAIN, fmt::format("the address of \"{}\"", place.host));
  if (code == EAI_SYSTEM) throw_errno(fmt::format("the address of \"{}\"", place.host));
  if (code != 0)
    throw Error(Fault::refused, fmt::format("\"{}\" is no address: {}", place.host, ::gai_strerror(code)),
                "give an address of IPv4 or IPv6, or the name of a host");
  return Addresses(list);
}

UniqueFd make(const addrinfo& address) {
  return UniqueFd(check(::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket"));
}

void set(int fd, int level, int name, int value) {
  check(::setsockopt(fd, level, name, &value, sizeof value), "setsockopt");
}

void watch_silence(int fd) {
  constexpr int kIdle = 15, kBetween = 15, kTimes = 3;  // seconds, seconds, and how often
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, kIdle);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, kBetween);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, kTimes);
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kSilence);
}

// 0, or errno.
int try_connect(int fd, const addrinfo& address, std::chrono::milliseconds limit) {
  if (::connect(fd, address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd entry{fd, POLLOUT, 0};
  const int n = ::poll(&entry, 1, static_cast<int>(limit.count()));
  if (n == 0) return ETIMEDOUT;
  if (n < 0) return errno;
  int code = 0;
  socklen_t size = sizeof code;
  check(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size), "getsockopt(SO_ERROR)");
  return code;
}

std::string text_of(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "an unknown address";
  return TcpPlace{host, static_cast<uint16_t>(std::stoi(port))}.text();
}

}  // namespace

std::string TcpPlace::text() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

UniqueFd listen_tcp(const TcpPlace& place) {
  const Addresses addresses = find(place, true);
  UniqueFd fd = make(*addresses);
  set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);  // a server that has just ended left connections behind
  check(::bind(fd.get(), addresses->ai_addr, addresses->ai_addrlen), fmt::format("bind to {}", place.text()));
  check(::listen(fd.get(), kBacklog), fmt::format("listen at {}", place.text()));
  return fd;
}

uint16_t local_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  check(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  const bool is_new = address.ss_family == AF_INET6;
  return ntohs(is_new ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                      : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

std::string peer_text(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "one that has left";
  return text_of(address, size);
}

UniqueFd accept_tcp(int listener, int stop) {
  for (;;) {
    pollfd waited[] = {{listener, POLLIN, 0}, {stop, POLLIN, 0}};
    if (::poll(waited, 2, -1) < 0 && errno != EINTR) throw_errno("poll");
    if (waited[1].revents != 0) return {};
    if (waited[0].revents == 0) continue;
    UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) return watch_silence(fd.get()), std::move(fd);
    // Who has left meanwhile is nobody's fault (accept(2)).
    if (errno == EINVAL || errno == EBADF) throw_errno("accept");
    if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS) continue;
    pollfd over{stop, POLLIN, 0};  // others may give descriptors back meanwhile
    ::poll(&over, 1, kAgain);
  }
}

UniqueFd connect_tcp(const TcpPlace& place, std::chrono::milliseconds limit) {
  const Addresses addresses = find(place, false);
  int code = 0;
  for (const addrinfo* address = addresses.get(); address; address = address->ai_next) {
    UniqueFd fd = make(*address);
    code = try_connect(fd.get(), *address, limit);
    if (code == 0) return watch_silence(fd.get()), std::move(fd);
  }
  throw_code(code, fmt::format("connect to {}", place.text()));
}

void end_tcp(int fd) {
  ::shutdown(fd, SHUT_RDWR);  // one that has ended by itself is as good
}

bool receive_all(int fd, void* data, size_t size, std::chrono::milliseconds silence) {
  for (size_t done = 0; done < size;) {
    if (!wait_readable(fd, static_cast<int>(silence.count()))) throw_code(ETIMEDOUT, "read");
    const size_t n = read_stream(fd, static_cast<char*>(data) + done, size - done);
    if (n == 0) return false;
    done += n;
  }
  return true;
}

bool has_left(int fd) {
  return (poll_now(fd, POLLRDHUP) & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void send_file(int socket, int file, uint64_t offset, uint64_t bytes) {
  auto at = static_cast<off_t>(offset);
  for (uint64_t left = bytes; left > 0;) {
    const ssize_t n = ::sendfile(socket, file, &at, std::min<uint64_t>(left, 1 << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pollfd entry{socket, POLLOUT, 0};
      if (::poll(&entry, 1, -1) < 0 && errno != EINTR) throw_errno("poll");
      continue;
    }
    if (check(n, "sendfile") == 0) throw Error(Fault::image, "a file became shorter while it was sent");
    left -= static_cast<uint64_t>(n);
  }
}

}  // namespace mcr::sys
