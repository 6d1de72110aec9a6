#include "core/sys/watch_keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "core/base/log.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::sys {
namespace {

constexpr std::string_view kNameStart = "mini-criu-watch-";
constexpr time_t kPatience = 5;  // seconds, for one message
constexpr size_t kAtOnce = 64;   // processes in one message
constexpr size_t kMostAskers = 32;

enum class Order : uint8_t { add = 1, settle, list, copy, end };

struct Entry {
  int64_t pid;
  uint64_t start_time;
};
struct Message {  // in both directions
  Order order;
  uint8_t is_last;
  uint16_t count;
  uint32_t reserved;
  Entry entries[kAtOnce];
};

std::string name_of(const std::string& token) {
  std::string name(kNameStart);
  for (const char byte : token) name += fmt::format("{:02x}", static_cast<uint8_t>(byte));
  return name;
}

std::string token_of(std::string_view name) {
  std::string token;
  name.remove_prefix(kNameStart.size());
  if (name.size() != 2 * kWatchTokenBytes || name.find_first_not_of("0123456789abcdef") != name.npos) return token;
  for (size_t i = 0; i < name.size(); i += 2)
    token += static_cast<char>(std::stoul(std::string(name.substr(i, 2)), nullptr, 16));
  return token;
}

// Abstract: it is gone with its last descriptor.
socklen_t fill_address(const std::string& name, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

void limit_waiting(int socket) {
  const timeval limit{kPatience, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

bool is_trusted(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == ::geteuid());
}

bool try_send(int socket, const Message& message, std::span<const int> files = {}) {
  alignas(cmsghdr) char control[CMSG_SPACE(2 * kAtOnce * sizeof(int))] = {};
  iovec part{const_cast<Message*>(&message), sizeof message};
  msghdr header{};
  header.msg_iov = &part, header.msg_iovlen = 1;
  if (!files.empty()) {
    header.msg_control = control, header.msg_controllen = CMSG_SPACE(files.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS, rights->cmsg_len = CMSG_LEN(files.size_bytes());
    std::memcpy(CMSG_DATA(rights), files.data(), files.size_bytes());
  }
  ssize_t sent = -1;
  while ((sent = ::sendmsg(socket, &header, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  return sent == static_cast<ssize_t>(sizeof message);
}

// False: the other side is gone, does not answer or sends something else.
bool try_receive(int socket, Message& message, std::vector<UniqueFd>& files) {
  alignas(cmsghdr) char control[CMSG_SPACE(2 * kAtOnce * sizeof(int))];
  iovec part{&message, sizeof message};
  msghdr header{};
  header.msg_iov = &part, header.msg_iovlen = 1;
  header.msg_control = control, header.msg_controllen = sizeof control;
  ssize_t got = -1;
  while ((got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  for (cmsghdr* rights = got < 0 ? nullptr : CMSG_FIRSTHDR(&header); rights; rights = CMSG_NXTHDR(&header, rights)) {
    if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) continue;
    std::array<int, 2 * kAtOnce> numbers{};
    const size_t count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::memcpy(numbers.data(), CMSG_DATA(rights), count * sizeof(int));
    for (size_t i = 0; i < count; ++i) files.emplace_back(numbers[i]);
  }
  return got == static_cast<ssize_t>(sizeof message) && message.count <= kAtOnce && !(header.msg_flags & MSG_CTRUNC);
}

// ---- in the keeper ----

struct Kept {
  Entry entry;
  UniqueFd watch, pidfd;
};

class Keeping {
 public:
  Keeping(int line, int listener) : line_(line), listener_(listener) {}

  void run() {
    while (line_.valid() || !kept_.empty()) {
      std::vector<pollfd> waited{{line_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const UniqueFd& asker : askers_) waited.push_back({asker.get(), POLLIN, 0});
      const size_t first = waited.size();
      for (const Kept& kept : kept_) waited.push_back({kept.pidfd.get(), POLLIN, 0});
      if (::poll(waited.data(), waited.size(), -1) < 0) continue;
      for (size_t i = kept_.size(); i-- > 0;)
        if (waited[first + i].revents != 0) kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i));
      for (size_t i = askers_.size(); i-- > 0;)
        if (waited[2 + i].revents != 0 && !answer(askers_[i].get()))
          askers_.erase(askers_.begin() + static_cast<std::ptrdiff_t>(i));
      if (waited[1].revents != 0) greet();
      if (waited[0].revents != 0 && !obey()) return;
    }
  }

 private:
  // Of the engine that has made us. False: it is gone before all was done.
  bool obey() {
    Message message{};
    std::vector<UniqueFd> files;
    if (!try_receive(line_.get(), message, files)) return false;
    if (message.order == Order::settle) {
      const bool told = try_send(line_.get(), message);
      line_.reset();
      return told;
    }
    if (message.order != Order::add || message.count != 1 || files.size() != 2) return false;
    kept_.push_back({message.entries[0], std::move(files[0]), std::move(files[1])});
    return try_send(line_.get(), message);
  }

  void greet() {
    UniqueFd asker(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!asker.valid() || !is_trusted(asker.get()) || askers_.size() >= kMostAskers) return;
    limit_waiting(asker.get());
    askers_.push_back(std::move(asker));
  }

  bool answer(int asker) {
    Message asked{};
    std::vector<UniqueFd> none;
    if (!try_receive(asker, asked, none) || line_.valid()) return false;
    if (asked.order == Order::end) {
      kept_.clear(), listener_.reset();
      try_send(asker, asked);
      ::_exit(0);
    }
    if (asked.order != Order::list && asked.order != Order::copy) return false;
    size_t next = 0;
    do {
      Message message{asked.order, 0, 0, 0, {}};
      std::vector<int> files;
      for (; next < kept_.size() && message.count < kAtOnce; ++next) {
        message.entries[message.count++] = kept_[next].entry;
        if (asked.order == Order::copy) files.push_back(kept_[next].watch.get());
      }
      message.is_last = next == kept_.size();
      if (!try_send(asker, message, files)) return false;
    } while (next < kept_.size());
    return true;
  }

  UniqueFd line_, listener_;
  std::vector<UniqueFd> askers_;
  std::vector<Kept> kept_;
};

void close_range_of(unsigned first, unsigned last) {
  if (first <= last) ::syscall(SYS_close_range, first, last, 0);
}

// Two descriptors a process: as many as may be, not as many as is usual.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Nothing of the engine's stays open: what its caller waits for would never end.
[[noreturn]] void keep(int line, int listener) {
  if (::chdir("/") != 0) ::_exit(1);
  ::prctl(PR_SET_NAME, "mini-criu-watch", 0, 0, 0);
  const int lowest = std::min(line, listener), highest = std::max(line, listener);
  if (const int nothing = ::open("/dev/null", O_RDWR); nothing >= 0)
    for (int fd = 0; fd <= 2; ++fd) ::dup2(nothing, fd);
  close_range_of(3, static_cast<unsigned>(lowest) - 1);
  close_range_of(static_cast<unsigned>(lowest) + 1, static_cast<unsigned>(highest) - 1);
  close_range_of(static_cast<unsigned>(highest) + 1, ~0U);
  raise_descriptor_limit();
  try {
    Keeping(line, listener).run();
  } catch (...) {
    ::_exit(1);
  }
  ::_exit(0);
}

// Above those that are standard input and output.
UniqueFd above_standard(int fd) {
  UniqueFd owned(fd);
  if (fd > 2) return owned;
  return UniqueFd(check(::fcntl(fd, F_DUPFD_CLOEXEC, 3), "fcntl"));
}

}  // namespace

NewWatchKeeper::NewWatchKeeper() : token_(kWatchTokenBytes, '\0') {
  check(::getrandom(token_.data(), token_.size(), 0), "getrandom");
  sockaddr_un address;
  const socklen_t size = fill_address(name_of(token_), address);
  const UniqueFd listener = above_standard(check(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "socket"));
  check(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), "bind");
  check(::listen(listener.get(), kMostAskers), "listen");
  int ends[2];
  check(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "socketpair");
  line_ = above_standard(ends[0]);
  const UniqueFd theirs = above_standard(ends[1]);
  limit_waiting(line_.get());
  const BlockAllSignals no_signals;  // for good: it ends with the last program, or by SIGKILL
  const auto child = static_cast<pid_t>(check(::fork(), "fork"));
  if (child == 0) {
    ::setsid();
    if (::fork() != 0) ::_exit(0);  // nobody of ours has to wait for the keeper
    keep(theirs.get(), listener.get());
  }
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

NewWatchKeeper::~NewWatchKeeper() = default;

void NewWatchKeeper::add(HostPid pid, uint64_t start_time, int watch, int pidfd) {
  Message message{Order::add, 1, 1, 0, {{pid.get(), start_time}}};
  std::vector<UniqueFd> none;
  if (!try_send(line_.get(), message, std::array{watch, pidfd}) || !try_receive(line_.get(), message, none))
    throw Error(Fault::system, "the process that keeps what tracks memory has ended",
                "memory may have been short (the kernel's log tells); dump again");
}

void NewWatchKeeper::settle() {
  Message message{Order::settle, 1, 0, 0, {}};
  std::vector<UniqueFd> none;
  if (!try_send(line_.get(), message) || !try_receive(line_.get(), message, none))
    log::warning("dump", "The process that keeps what tracks memory has ended: the next dump will store everything");
  line_.reset();
}

namespace {

bool ask(int line, Order order, std::vector<Entry>& entries, std::vector<UniqueFd>& files) {
  Message message{order, 1, 0, 0, {}};
  if (!try_send(line, message)) return false;
  do {
    if (!try_receive(line, message, files) || message.order != order) return false;
    entries.insert(entries.end(), message.entries, message.entries + message.count);
  } while (!message.is_last);
  return order == Order::list || entries.size() == files.size();
}

std::vector<std::string> tokens_here() {
  std::vector<std::string> tokens;
  const std::string text = try_read_text("/proc/net/unix").value_or("");
  for (size_t at = text.find(kNameStart); at != std::string::npos; at = text.find(kNameStart, at + 1)) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string token = at > 0 && text[at - 1] == '@' ? token_of(text.substr(at, end - at)) : std::string();
    if (!token.empty() && std::ranges::find(tokens, token) == tokens.end()) tokens.push_back(token);
  }
  return tokens;
}

}  // namespace

std::vector<WatchKeeper> WatchKeeper::find_all() {
  std::vector<WatchKeeper> keepers;
  for (const std::string& token : tokens_here()) {
    UniqueFd line(check(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "socket"));
    limit_waiting(line.get());
    sockaddr_un address;
    const socklen_t size = fill_address(name_of(token), address);
    if (::connect(line.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || !is_trusted(line.get())) continue;
    WatchKeeper keeper(token, std::move(line));
    std::vector<Entry> entries;
    std::vector<UniqueFd> none;
    if (!ask(keeper.line_.get(), Order::list, entries, none)) continue;
    for (const Entry& entry : entries)
      keeper.processes_.emplace_back(HostPid(static_cast<pid_t>(entry.pid)), entry.start_time);
    keepers.push_back(std::move(keeper));
  }
  return keepers;
}

bool WatchKeeper::has(HostPid pid, uint64_t start_time) const {
  return std::ranges::find(processes_, std::pair(pid, start_time)) != processes_.end();
}

std::vector<WatchedProcess> WatchKeeper::copy_all() {
  std::vector<Entry> entries;
  std::vector<UniqueFd> files;
  std::vector<WatchedProcess> all;
  if (!ask(line_.get(), Order::copy, entries, files)) return all;
  for (size_t i = 0; i < entries.size(); ++i)
    all.push_back({HostPid(static_cast<pid_t>(entries[i].pid)), entries[i].start_time, std::move(files[i])});
  return all;
}

void WatchKeeper::end() {
  Message message{Order::end, 1, 0, 0, {}};
  std::vector<UniqueFd> none;
  errno = 0;
  if (try_send(line_.get(), message) && !try_receive(line_.get(), message, none) &&
      (errno == EAGAIN || errno == EWOULDBLOCK))
    throw Error(Fault::timeout, "the process that keeps what tracks memory does not answer",
                "it is called mini-criu-watch: let it go on (SIGCONT) or end it (SIGKILL), then dump again");
  line_.reset();
}

}  // namespace mcr::sys
