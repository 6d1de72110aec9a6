#include "core/sys/socket.h"

#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "core/sys/failure.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

const sockaddr* address_of(std::string_view bytes) {
  return reinterpret_cast<const sockaddr*>(bytes.data());
}

int ioctl_number(int fd, unsigned long request, const char* what) {
  int value = 0;
  check(::ioctl(fd, request, &value), what);
  return value;
}

}  // namespace

SocketType type_of_socket(int fd) {
  return {get_int_option(fd, SOL_SOCKET, SO_DOMAIN), get_int_option(fd, SOL_SOCKET, SO_TYPE),
          get_int_option(fd, SOL_SOCKET, SO_PROTOCOL)};
}

std::optional<std::string> protocol_name(const std::string& door) {
  char name[64];
  const ssize_t n = ::getxattr(door.c_str(), "system.sockprotoname", name, sizeof name);
  if (n <= 0) return std::nullopt;
  return std::string(name, ::strnlen(name, static_cast<size_t>(n)));
}

UniqueFd make_socket(const SocketType& type) {
  return UniqueFd(check(::socket(type.domain, type.type | SOCK_CLOEXEC | SOCK_NONBLOCK, type.protocol), "socket"));
}
std::pair<UniqueFd, UniqueFd> make_socket_pair(int type) {
  int fds[2];
  check(::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), "socketpair");
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}
UniqueFd accept_connection(int fd) {
  return UniqueFd(check(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK), "accept"));
}

std::string socket_name(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  check(::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length), "getsockname");
  return std::string(reinterpret_cast<const char*>(&storage), std::min<size_t>(length, sizeof storage));
}
std::optional<std::string> peer_name(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(&storage), std::min<size_t>(length, sizeof storage));
}
int try_bind_socket(int fd, std::string_view address) {
  return ::bind(fd, address_of(address), static_cast<socklen_t>(address.size())) == 0 ? 0 : errno;
}
void bind_socket(int fd, std::string_view address) {
  check(::bind(fd, address_of(address), static_cast<socklen_t>(address.size())), "bind");
}
int try_connect_socket(int fd, std::string_view address) {
  if (::connect(fd, address_of(address), static_cast<socklen_t>(address.size())) == 0) return 0;
  return errno == EINPROGRESS ? 0 : errno;
}
void connect_socket(int fd, std::string_view address) {
  if (const int code = try_connect_socket(fd, address); code != 0) throw_code(code, "connect");
}
void listen_on(int fd, int backlog) {
  check(::listen(fd, backlog), "listen");
}
int try_shutdown(int fd, int how) {
  return ::shutdown(fd, how) == 0 ? 0 : errno;
}

UniqueFd try_open_socket_file(int fd) {
  constexpr unsigned long kSocketFile = SIOCPROTOPRIVATE;  // SIOCUNIXFILE
  const int file = ::ioctl(fd, kSocketFile);
  if (file >= 0) (void)::fcntl(file, F_SETFD, FD_CLOEXEC);
  return UniqueFd(file);
}

std::optional<std::string> try_get_option(int fd, int level, int name, size_t room) {
  std::string value(room, '\0');
  auto length = static_cast<socklen_t>(room);
  if (::getsockopt(fd, level, name, value.data(), &length) != 0) return std::nullopt;
  value.resize(std::min<size_t>(length, room));
  return value;
}
int get_int_option(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  check(::getsockopt(fd, level, name, &value, &length), fmt::format("getsockopt({}, {})", level, name));
  return value;
}
int try_set_option(int fd, int level, int name, std::string_view value) {
  return ::setsockopt(fd, level, name, value.data(), static_cast<socklen_t>(value.size())) == 0 ? 0 : errno;
}
void set_option(int fd, int level, int name, std::string_view value) {
  if (const int code = try_set_option(fd, level, name, value); code != 0)
    throw_code(code, fmt::format("setsockopt({}, {})", level, name));
}
void set_int_option(int fd, int level, int name, int value) {
  set_option(fd, level, name, {reinterpret_cast<const char*>(&value), sizeof value});
}

// The length of SO_GET_FILTER counts instructions, not bytes (net/core/filter.c).
std::optional<std::string> try_get_filter(int fd) {
  socklen_t count = 0;
  if (::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &count) != 0) return std::nullopt;
  std::string program(count * sizeof(sock_filter), '\0');
  if (count > 0 && ::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, program.data(), &count) != 0) return std::nullopt;
  return program;
}
int try_attach_filter(int fd, std::string_view program) {
  std::vector<sock_filter> filter(program.size() / sizeof(sock_filter));
  if (filter.empty()) return EINVAL;
  std::memcpy(filter.data(), program.data(), filter.size() * sizeof(sock_filter));
  const sock_fprog all{static_cast<unsigned short>(filter.size()), filter.data()};
  return try_set_option(fd, SOL_SOCKET, SO_ATTACH_FILTER, {reinterpret_cast<const char*>(&all), sizeof all});
}
bool has_error(int fd) {
  return (poll_now(fd, 0) & POLLERR) != 0;
}
int bytes_to_read(int fd) {
  return ioctl_number(fd, SIOCINQ, "ioctl(SIOCINQ)");
}
int bytes_unsent(int fd) {
  return ioctl_number(fd, SIOCOUTQ, "ioctl(SIOCOUTQ)");
}
int bytes_never_sent(int fd) {
  return ioctl_number(fd, SIOCOUTQNSD, "ioctl(SIOCOUTQNSD)");
}

namespace {

constexpr size_t kMostFiles = 253;  // SCM_MAX_FD
constexpr int kPidFile = 4;         // SCM_PIDFD, 6.5

template <typename T>
std::optional<T> control_value(const cmsghdr& head, size_t bytes) {
  if (bytes < sizeof(T)) return std::nullopt;
  T value{};
  std::memcpy(&value, CMSG_DATA(&head), sizeof value);
  return value;
}

std::string ip_bytes(const void* address, size_t size) {
  std::string bytes(static_cast<const char*>(address), size);
  in6_addr six{};
  if (size == sizeof six) std::memcpy(&six, address, size);
  return size == sizeof six && IN6_IS_ADDR_V4MAPPED(&six) ? bytes.substr(12) : bytes;
}

void take_arrival(const cmsghdr& head, size_t bytes, Arrival& into) {
  constexpr int kUdp = 17, kUdpGro = 104;  // SOL_UDP, UDP_GRO (5.0)
  const int level = head.cmsg_level, type = head.cmsg_type;
  if (level == IPPROTO_IP && type == IP_PKTINFO) {
    if (const auto info = control_value<in_pktinfo>(head, bytes)) {
      into.destination = ip_bytes(&info->ipi_addr, sizeof info->ipi_addr);
      into.interface = static_cast<uint32_t>(info->ipi_ifindex);
    }
  } else if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO) {
    if (const auto info = control_value<in6_pktinfo>(head, bytes)) {
      into.destination = ip_bytes(&info->ipi6_addr, sizeof info->ipi6_addr);
      into.interface = info->ipi6_ifindex;
    }
  } else if ((level == IPPROTO_IP && type == IP_TTL) || (level == IPPROTO_IPV6 && type == IPV6_HOPLIMIT)) {
    into.hops = control_value<int>(head, bytes);
  } else if (level == IPPROTO_IP && type == IP_TOS) {
    into.traffic_class = control_value<uint8_t>(head, bytes);
  } else if (level == IPPROTO_IPV6 && type == IPV6_TCLASS) {
    into.traffic_class = control_value<int>(head, bytes);
  } else if (level == kUdp && type == kUdpGro) {
    if (const auto segment = control_value<int>(head, bytes); segment && *segment > 0)
      into.segment = static_cast<size_t>(*segment);
  }
}

// Who sent it, where the socket asks for a pidfd only (SO_PASSPIDFD). The ids are those a message gets: the real ones.
void take_pidfd(const UniqueFd& file, SocketMessage& into) {
  if (!file.valid() || into.credentials) return;
  const auto number = [](const std::optional<std::string>& text, const char* key) {
    const size_t at = text ? text->find(key) : std::string::npos;
    return at == std::string::npos ? -1L : std::strtol(text->c_str() + at + std::strlen(key), nullptr, 10);
  };
  const auto pid = number(try_read_text(fmt::format("/proc/self/fdinfo/{}", file.get())), "\nPid:");
  if (pid <= 0) return;  // it has ended
  const auto status = try_read_text(fmt::format("/proc/{}/status", pid));
  const auto uid = number(status, "\nUid:"), gid = number(status, "\nGid:");
  if (uid >= 0 && gid >= 0)
    into.credentials = {static_cast<pid_t>(pid), static_cast<uid_t>(uid), static_cast<gid_t>(gid)};
}

void take_control(msghdr& message, SocketMessage& into) {
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    const size_t bytes = head->cmsg_len - CMSG_LEN(0);
    if (head->cmsg_level != SOL_SOCKET) {
      take_arrival(*head, bytes, into.arrival);
      continue;
    }
    if (head->cmsg_type == SCM_RIGHTS) {
      std::vector<int> fds(bytes / sizeof(int));
      std::memcpy(fds.data(), CMSG_DATA(head), fds.size() * sizeof(int));
      for (const int fd : fds) into.files.emplace_back(fd);
    }
    if (head->cmsg_type == kPidFile && bytes >= sizeof(int))
      take_pidfd(UniqueFd(*control_value<int>(*head, bytes)), into);
    for (const int time : {29, 35, 37, 63, 64, 65})  // SCM_TIMESTAMP, TIMESTAMPNS, TIMESTAMPING, their successors (5.1)
      into.is_stamped = into.is_stamped || head->cmsg_type == time;
    if (head->cmsg_type == SCM_CREDENTIALS && bytes >= sizeof(ucred)) {
      ucred sender{};
      std::memcpy(&sender, CMSG_DATA(head), sizeof sender);
      into.credentials = {sender.pid, sender.uid, sender.gid};
    }
  }
}

void put_control(msghdr& message, int type, const void* data, size_t size, size_t& used) {
  auto* head = reinterpret_cast<cmsghdr*>(static_cast<char*>(message.msg_control) + used);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = type;
  head->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(head), data, size);
  used += CMSG_SPACE(size);
}

}  // namespace

std::optional<SocketMessage> try_peek(int fd, size_t room) {
  const auto buffer = std::make_unique_for_overwrite<char[]>(room);
  return try_peek(fd, {buffer.get(), room});
}

std::optional<SocketMessage> try_peek(int fd, std::span<char> buffer) {
  constexpr size_t kOther = 4096;  // options of IPv6 headers, labels
  SocketMessage found;
  sockaddr_storage address{};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFiles * sizeof(int)) + CMSG_SPACE(sizeof(ucred)) + kOther];
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_name = &address, message.msg_namelen = sizeof address;
  message.msg_iov = &part, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
  check(n, "recvmsg(MSG_PEEK)");
  take_control(message, found);
  if (message.msg_flags & MSG_CTRUNC)
    throw Error(Fault::system,
                "files that wait in a socket cannot be opened here, or what comes with a message is long",
                "there may be no room for them: raise the limit on open files (ulimit -n)");
  found.truncated = (message.msg_flags & MSG_TRUNC) != 0;
  found.end_of_record = (message.msg_flags & MSG_EOR) != 0;
  found.data.assign(buffer.data(), std::min<size_t>(static_cast<size_t>(n), buffer.size()));
  found.address.assign(reinterpret_cast<const char*>(&address), std::min<size_t>(message.msg_namelen, sizeof address));
  return found;
}

int try_send(int fd, const SocketMessage& what, std::span<const int> files, int flags) {
  iovec part{const_cast<char*>(what.data.data()), what.data.size()};
  msghdr message{};
  message.msg_iov = &part, message.msg_iovlen = 1;
  message.msg_name = const_cast<char*>(what.address.data());
  message.msg_namelen = static_cast<socklen_t>(what.address.size());
  if (what.address.empty()) message.msg_name = nullptr;
  std::vector<char> control(CMSG_SPACE(files.size_bytes()) + CMSG_SPACE(sizeof(ucred)));
  message.msg_control = control.data();
  size_t used = 0;
  if (!files.empty()) put_control(message, SCM_RIGHTS, files.data(), files.size_bytes(), used);
  if (what.credentials) {
    const ucred sender{what.credentials->pid, what.credentials->uid, what.credentials->gid};
    put_control(message, SCM_CREDENTIALS, &sender, sizeof sender, used);
  }
  message.msg_controllen = used;
  if (used == 0) message.msg_control = nullptr;
  const ssize_t n = ::sendmsg(fd, &message, flags | MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0) return errno;
  return static_cast<size_t>(n) == what.data.size() ? 0 : EMSGSIZE;
}

std::vector<LocalAddress> local_addresses() {
  ifaddrs* first = nullptr;
  check(::getifaddrs(&first), "getifaddrs");
  std::vector<LocalAddress> found;
  for (const ifaddrs* one = first; one; one = one->ifa_next) {
    const int family = one->ifa_addr ? one->ifa_addr->sa_family : AF_UNSPEC;
    const auto* bytes = reinterpret_cast<const char*>(one->ifa_addr);
    if (family != AF_INET && family != AF_INET6) continue;
    LocalAddress& address = found.emplace_back();
    address.interface = ::if_nametoindex(one->ifa_name);
    if (family == AF_INET) address.bytes.assign(bytes + offsetof(sockaddr_in, sin_addr), 4);
    if (family == AF_INET6) address.bytes.assign(bytes + offsetof(sockaddr_in6, sin6_addr), 16);
  }
  ::freeifaddrs(first);
  return found;
}

LoopbackState loopback_state() {
  const UniqueFd control = make_socket({AF_INET, SOCK_DGRAM, 0});
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  check(::ioctl(control.get(), SIOCGIFFLAGS, &request), "ioctl(SIOCGIFFLAGS) of lo");
  const bool is_up = (request.ifr_flags & IFF_UP) != 0;
  check(::ioctl(control.get(), SIOCGIFMTU, &request), "ioctl(SIOCGIFMTU) of lo");
  return {is_up, static_cast<size_t>(request.ifr_mtu)};
}

// The calls themselves: those of the library change all threads, and the saved ids.
AssumedIds::AssumedIds(uid_t uid, gid_t gid, std::span<const gid_t> groups) : uid_(::geteuid()), gid_(::getegid()) {
  groups_.resize(static_cast<size_t>(check(::getgroups(0, nullptr), "getgroups")));
  check(::getgroups(static_cast<int>(groups_.size()), groups_.data()), "getgroups");
  try {
    check(::syscall(SYS_setgroups, groups.size(), groups.data()), "setgroups");
    check(::syscall(SYS_setresgid, -1, gid, -1), "setresgid");
    check(::syscall(SYS_setresuid, -1, uid, -1), "setresuid");
  } catch (...) {
    ::syscall(SYS_setresgid, -1, gid_, -1);
    ::syscall(SYS_setgroups, groups_.size(), groups_.data());
    throw;
  }
}
AssumedIds::~AssumedIds() {
  ::syscall(SYS_setresuid, -1, uid_, -1);  // first: it brings the capabilities back (capabilities(7))
  ::syscall(SYS_setresgid, -1, gid_, -1);
  ::syscall(SYS_setgroups, groups_.size(), groups_.data());
}

AssumedPlace::AssumedPlace(int scratch, const std::string& path)
    : old_root_(open("/", O_PATH | O_DIRECTORY)), old_folder_(open(".", O_PATH | O_DIRECTORY)) {
  try {
    check(::fchdir(scratch), "fchdir");
    check(::chroot("."), "chroot");
    // Deep enough for a name that begins with "..".
    for (int depth = 0; depth < 8 && path.front() != '/'; ++depth) {
      (void)::mkdir("d", 0755);
      check(::chdir("d"), "chdir");
    }
    for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
      (void)::mkdir(path.substr(0, slash).c_str(), 0755);
  } catch (...) {
    go_back();
    throw;
  }
}
AssumedPlace::AssumedPlace(const std::string& root, const std::string& folder)
    : old_folder_(open(".", O_PATH | O_DIRECTORY)) {
  if (!root.empty()) old_root_ = open("/", O_PATH | O_DIRECTORY);
  try {
    if (!root.empty()) check(::chroot(root.c_str()), "chroot " + root);
    check(::chdir(folder.c_str()), "chdir " + folder);
  } catch (...) {
    go_back();
    throw;
  }
}
AssumedPlace::~AssumedPlace() {
  go_back();
}
void AssumedPlace::go_back() {
  if (old_root_.valid() && (::fchdir(old_root_.get()) != 0 || ::chroot(".") != 0)) return;
  if (::fchdir(old_folder_.get()) != 0) return;
}

}  // namespace mcr::sys
