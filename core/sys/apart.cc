#include "core/sys/apart.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/socket.h"

namespace mcr::sys {
namespace {

constexpr uint64_t kMostBytes = 1u << 31;

enum class Frame : uint32_t { data, failure, whole };

struct Head {
  uint64_t bytes = 0;
  Frame frame = Frame::data;
  Fault fault = Fault::internal;
  int code = 0;
};

// Nothing more can be said on the line.
class HalfSent : public std::exception {};

// Throws Error when nothing of it was sent, HalfSent otherwise.
void send_frame(int line, const Head& head, std::string_view bytes, std::span<const int> files) {
  SocketMessage first;
  first.data.assign(reinterpret_cast<const char*>(&head), sizeof head);
  alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))];
  iovec part{first.data.data(), first.data.size()};
  msghdr message{};
  message.msg_iov = &part, message.msg_iovlen = 1;
  if (!files.empty()) {
    message.msg_control = control, message.msg_controllen = CMSG_SPACE(files.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS, rights->cmsg_len = CMSG_LEN(files.size_bytes());
    std::memcpy(CMSG_DATA(rights), files.data(), files.size_bytes());
  }
  const ssize_t sent = check(::sendmsg(line, &message, MSG_NOSIGNAL), "hand over what waits in a socket");
  if (static_cast<size_t>(sent) != sizeof head) throw HalfSent();
  while (!bytes.empty()) {
    const ssize_t n = ::send(line, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw HalfSent();
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

// nullopt: the end of the line.
std::optional<Head> receive_head(int line, std::vector<UniqueFd>& files) {
  Head head;
  iovec part{&head, sizeof head};
  alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  const ssize_t n = check(::recvmsg(line, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC), "recvmsg");
  for (cmsghdr* rights = CMSG_FIRSTHDR(&message); rights; rights = CMSG_NXTHDR(&message, rights)) {
    std::vector<int> fds((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(fds.data(), CMSG_DATA(rights), fds.size() * sizeof(int));
    for (const int fd : fds) files.emplace_back(fd);
  }
  if (n == 0) return std::nullopt;
  if (message.msg_flags & MSG_CTRUNC)
    throw Error(Fault::system, "files that wait in a socket cannot be opened here",
                "there is no room for them: raise the limit on open files (ulimit -n)");
  if (static_cast<size_t>(n) != sizeof head || head.bytes > kMostBytes)
    throw Error(Fault::internal, "the process apart sent half a message");
  return head;
}

// The text is the reason, a zero, the remedy.
void tell_failure(int line, Fault fault, int code, std::string reason, const std::string& remedy) {
  reason += '\0' + remedy;
  send_frame(line, {reason.size(), Frame::failure, fault, code}, reason, {});
}

[[noreturn]] void throw_told(const Head& head, const std::string& text) {
  const size_t border = std::min(text.find('\0'), text.size());
  throw Error(head.fault, text.substr(0, border), text.substr(std::min(border + 1, text.size())), head.code);
}

void work_and_tell(int line, const std::function<void(const Deliver&)>& work) {
  try {
    work(
        [line](std::string_view bytes, std::span<const int> files) { send_frame(line, {bytes.size()}, bytes, files); });
    send_frame(line, {0, Frame::whole}, {}, {});
  } catch (const HalfSent&) {
    throw;
  } catch (const Error& error) {
    tell_failure(line, error.fault(), error.code(), error.reason(), error.remedy());
  } catch (const std::bad_alloc&) {
    tell_failure(line, Fault::system, ENOMEM, "there is not enough memory for what waits in sockets", {});
  } catch (const std::exception& other) {
    tell_failure(line, Fault::internal, 0, other.what(), {});
  }
}

[[noreturn]] void work_apart(int line, const std::function<void(const Deliver&)>& work) {
  ::setsid();
  try {
    work_and_tell(line, work);
  } catch (...) {
    ::_exit(1);
  }
  ::_exit(0);
}

class Worker {
 public:
  explicit Worker(pid_t pid) : pid_(pid) {}
  ~Worker() { wait(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Its line has ended: how did it?
  [[noreturn]] void refuse_half() {
    const int status = wait();
    const std::string how = WIFSIGNALED(status) ? fmt::format("was ended by signal {}", WTERMSIG(status))
                                                : fmt::format("ended with {}", WEXITSTATUS(status));
    throw Error(Fault::system, fmt::format("the process that reads what waits in sockets {} before it was done", how),
                "memory may have been short (the kernel's log tells); dump again");
  }

 private:
  int wait() {
    int status = 0;
    while (pid_ > 0 && ::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }
  pid_t pid_;
};

// false: the line has ended before the last of them.
bool read_body(int line, std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const size_t n = read_some(line, bytes.data() + done, bytes.size() - done);
    if (n == 0) return false;
    done += n;
  }
  return true;
}

std::vector<Delivery> receive_all(int line, Worker& worker) {
  std::vector<Delivery> all;
  for (;;) {
    Delivery one;
    const auto head = receive_head(line, one.files);
    if (!head) worker.refuse_half();
    one.bytes.resize(head->bytes);
    if (!read_body(line, one.bytes)) worker.refuse_half();
    if (head->frame == Frame::whole) return all;
    if (head->frame == Frame::failure) throw_told(*head, one.bytes);
    all.push_back(std::move(one));
  }
}

}  // namespace

std::vector<Delivery> run_apart(const std::function<void(const Deliver&)>& work) {
  int ends[2];
  check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
  UniqueFd ours(ends[0]), theirs(ends[1]);
  const BlockAllSignals no_signals;
  const auto pid = static_cast<pid_t>(check(::fork(), "fork"));
  if (pid == 0) {
    ours.reset();
    work_apart(theirs.get(), work);
  }
  // Whatever is thrown here, its line is closed before it is waited for: it may be waiting for room there.
  Worker worker(pid);
  const UniqueFd line = std::move(ours);
  theirs.reset();
  return receive_all(line.get(), worker);
}

}  // namespace mcr::sys
