#include "core/sys/apart.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/socket.h"

namespace mcr::sys {
namespace {

constexpr uint64_t kMostBytes = 1u << 31;

struct Head {
  uint64_t bytes = 0;
  uint32_t failed = 0, code = 0;
};

// Failures are of no interest here: whoever could have listened is dead.
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
  if (::sendmsg(line, &message, MSG_NOSIGNAL) < 0) return;
  while (!bytes.empty()) {
    const ssize_t n = ::send(line, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

// nullopt: the end.
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
  if (static_cast<size_t>(n) != sizeof head || head.bytes > kMostBytes)
    throw Error(Fault::internal, "the process apart sent half a message");
  return head;
}

[[noreturn]] void work_apart(int line, const std::function<void(const Deliver&)>& work) {
  ::setsid();
  try {
    work([line](std::string_view bytes, std::span<const int> files) {
      send_frame(line, {bytes.size(), 0, 0}, bytes, files);
    });
  } catch (const Error& error) {
    const std::string text = error.reason();
    send_frame(line, {text.size(), 1, static_cast<uint32_t>(error.code())}, text, {});
  } catch (...) {
    send_frame(line, {0, 1, 0}, {}, {});
  }
  ::_exit(0);
}

class Worker {
 public:
  explicit Worker(pid_t pid) : pid_(pid) {}
  ~Worker() {
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

 private:
  pid_t pid_;
};

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
  const Worker worker(pid);
  theirs.reset();
  std::vector<Delivery> all;
  for (;;) {
    Delivery one;
    const auto head = receive_head(ours.get(), one.files);
    if (!head) return all;
    one.bytes.resize(head->bytes);
    read_exactly(ours.get(), one.bytes.data(), one.bytes.size());
    if (head->failed) throw Error(Fault::system, one.bytes, {}, static_cast<int>(head->code));
    all.push_back(std::move(one));
  }
}

}  // namespace mcr::sys
