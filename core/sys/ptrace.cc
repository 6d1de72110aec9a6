#include "core/sys/ptrace.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys/busy_wait.h"
#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

constexpr int kGetRseqConfiguration = 0x420f;  // PTRACE_GET_RSEQ_CONFIGURATION, 5.13
constexpr int kEventStop = 128;                // PTRACE_EVENT_STOP

long request(int what, HostTid tid, uint64_t address, uint64_t data) {
  long result = ::syscall(SYS_ptrace, what, tid.get(), address, data);
  return result < 0 ? -errno : result;
}

bool unless_gone(int what, HostTid tid, uint64_t data, const char* name) {
  const long result = request(what, tid, 0, data);
  if (result == -ESRCH) return false;
  if (result < 0) throw_code(static_cast<int>(-result), fmt::format("ptrace({}) of tid {}", name, tid));
  return true;
}

void must(long result, HostTid tid, const char* name) {
  if (result < 0) throw_code(static_cast<int>(-result), fmt::format("ptrace({}) of tid {}", name, tid));
}

StopEvent decode(int status) {
  using Kind = StopEvent::Kind;
  if (WIFEXITED(status) || WIFSIGNALED(status)) return {Kind::ended, status, 0};
  const int signal = WSTOPSIG(status);
  const int event = status >> 16;
  if (event == kEventStop) {
    if (signal == SIGTRAP) return {Kind::trap, signal, event};
    return {Kind::group_stop, signal, event};
  }
  if (event != 0) return {Kind::event, signal, event};
  if (signal == (SIGTRAP | 0x80)) return {Kind::syscall, signal, 0};
  return {Kind::signal, signal, 0};
}

}  // namespace

bool seize(HostTid tid, uint64_t options) {
  return unless_gone(PTRACE_SEIZE, tid, options, "SEIZE");
}
bool interrupt(HostTid tid) {
  return unless_gone(PTRACE_INTERRUPT, tid, 0, "INTERRUPT");
}
bool detach(HostTid tid, int signal) {
  return unless_gone(PTRACE_DETACH, tid, static_cast<uint64_t>(signal), "DETACH");
}
bool resume(HostTid tid, int signal) {
  return unless_gone(PTRACE_CONT, tid, static_cast<uint64_t>(signal), "CONT");
}
bool resume_to_syscall(HostTid tid, int signal) {
  return unless_gone(PTRACE_SYSCALL, tid, static_cast<uint64_t>(signal), "SYSCALL");
}
bool single_step(HostTid tid) {
  return unless_gone(PTRACE_SINGLESTEP, tid, 0, "SINGLESTEP");
}

void set_options(HostTid tid, uint64_t options) {
  must(request(PTRACE_SETOPTIONS, tid, 0, options), tid, "SETOPTIONS");
}

uint64_t get_event_message(HostTid tid) {
  unsigned long message = 0;
  must(request(PTRACE_GETEVENTMSG, tid, 0, reinterpret_cast<uint64_t>(&message)), tid, "GETEVENTMSG");
  return message;
}

Registers get_registers(HostTid tid) {
  Registers registers{};
  must(request(PTRACE_GETREGS, tid, 0, reinterpret_cast<uint64_t>(&registers)), tid, "GETREGS");
  return registers;
}
void set_registers(HostTid tid, const Registers& registers) {
  must(request(PTRACE_SETREGS, tid, 0, reinterpret_cast<uint64_t>(&registers)), tid, "SETREGS");
}

size_t get_xstate(HostTid tid, std::span<std::byte> buffer) {
  iovec part{buffer.data(), buffer.size()};
  must(request(PTRACE_GETREGSET, tid, NT_X86_XSTATE, reinterpret_cast<uint64_t>(&part)), tid, "GETREGSET");
  return part.iov_len;
}
void set_xstate(HostTid tid, std::span<const std::byte> state) {
  iovec part{const_cast<std::byte*>(state.data()), state.size()};
  must(request(PTRACE_SETREGSET, tid, NT_X86_XSTATE, reinterpret_cast<uint64_t>(&part)), tid, "SETREGSET");
}

uint64_t get_signal_mask(HostTid tid) {
  uint64_t mask = 0;
  must(request(PTRACE_GETSIGMASK, tid, sizeof mask, reinterpret_cast<uint64_t>(&mask)), tid, "GETSIGMASK");
  return mask;
}
void set_signal_mask(HostTid tid, uint64_t mask) {
  must(request(PTRACE_SETSIGMASK, tid, sizeof mask, reinterpret_cast<uint64_t>(&mask)), tid, "SETSIGMASK");
}

siginfo_t get_siginfo(HostTid tid) {
  siginfo_t info{};
  must(request(PTRACE_GETSIGINFO, tid, 0, reinterpret_cast<uint64_t>(&info)), tid, "GETSIGINFO");
  return info;
}

std::vector<siginfo_t> peek_signals(HostTid tid, bool shared) {
  constexpr int kAtOnce = 256;
  std::vector<siginfo_t> all;
  for (;;) {
    siginfo_t batch[kAtOnce];
    __ptrace_peeksiginfo_args args{};
    args.off = all.size();
    args.flags = shared ? 1 : 0;  // PTRACE_PEEKSIGINFO_SHARED
    args.nr = kAtOnce;
    const long n =
        request(PTRACE_PEEKSIGINFO, tid, reinterpret_cast<uint64_t>(&args), reinterpret_cast<uint64_t>(batch));
    must(n, tid, "PEEKSIGINFO");
    all.insert(all.end(), batch, batch + n);
    if (n == 0) return all;  // fewer than asked for come when a signal for us interrupts
  }
}

RseqConfiguration get_rseq(HostTid tid) {
  RseqConfiguration configuration{};
  const long n = request(kGetRseqConfiguration, tid, sizeof configuration, reinterpret_cast<uint64_t>(&configuration));
  must(n, tid, "GET_RSEQ_CONFIGURATION");
  return configuration;
}

std::optional<std::vector<sock_filter>> get_seccomp_filter(HostTid tid, uint64_t number) {
  constexpr int kGetFilter = 0x420c;
  const long count = request(kGetFilter, tid, number, 0);
  // EINVAL: it is in no filter mode. EACCES: we may not ask, which shows by the mode in its status.
  if (count == -ENOENT || (number == 0 && (count == -EINVAL || count == -EACCES))) return std::nullopt;
  must(count, tid, "SECCOMP_GET_FILTER");
  std::vector<sock_filter> program(static_cast<size_t>(count));
  must(request(kGetFilter, tid, number, reinterpret_cast<uint64_t>(program.data())), tid, "SECCOMP_GET_FILTER");
  return program;
}

uint64_t get_seccomp_flags(HostTid tid, uint64_t number) {
  constexpr int kGetMetadata = 0x420d;
  uint64_t metadata[2] = {number, 0};
  const long result = request(kGetMetadata, tid, sizeof metadata, reinterpret_cast<uint64_t>(metadata));
  if (result == -EIO) return 0;  // an older kernel
  must(result, tid, "SECCOMP_GET_METADATA");
  return metadata[1];
}

SyscallDispatch get_syscall_dispatch(HostTid tid) {
  constexpr int kGetUserDispatch = 0x4211;
  SyscallDispatch configuration;
  const long result = request(kGetUserDispatch, tid, sizeof configuration, reinterpret_cast<uint64_t>(&configuration));
  return result == 0 ? configuration : SyscallDispatch();
}
void set_syscall_dispatch(HostTid tid, const SyscallDispatch& configuration) {
  constexpr int kSetUserDispatch = 0x4210;
  must(request(kSetUserDispatch, tid, sizeof configuration, reinterpret_cast<uint64_t>(&configuration)), tid,
       "SET_SYSCALL_USER_DISPATCH_CONFIG");
}

bool has_io_permissions(HostTid tid) {
  constexpr uint64_t kIoPermissions = 0x201;  // NT_386_IOPERM
  uint64_t word = 0;
  iovec part{&word, sizeof word};
  const long result = request(PTRACE_GETREGSET, tid, kIoPermissions, reinterpret_cast<uint64_t>(&part));
  return result == 0 && part.iov_len > 0;
}

std::optional<StopEvent> poll_stop(HostTid tid) {
  int status = 0;
  for (;;) {
    const pid_t got = ::waitpid(tid.get(), &status, __WALL | WNOHANG);
    if (got == tid.get()) return decode(status);
    if (got == 0) return std::nullopt;
    // ECHILD: the tracee was reaped by somebody else, as happens to a thread whose leader called exec.
    if (errno == ECHILD) return StopEvent{StopEvent::Kind::ended, 0, 0};
    if (errno != EINTR) throw_errno(fmt::format("waitpid {}", tid));
  }
}

std::optional<StopEvent> wait_stop(HostTid tid, const Deadline& deadline) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  thread_local BusyWait busily;
  if (auto event = busily.until([&] { return poll_stop(tid); })) return event;
  for (;;) {
    if (auto event = poll_stop(tid)) return event;
    std::chrono::nanoseconds left = std::chrono::seconds(1);
    if (deadline) left = std::min<std::chrono::nanoseconds>(left, *deadline - Clock::now());
    if (left.count() <= 0) return std::nullopt;
    const timespec wait{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    ::sigtimedwait(&child, nullptr, &wait);  // whatever it returns, look again
  }
}

void reap_killed_tracees(const Deadline& deadline) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  while (!deadline || Clock::now() < *deadline) {
    const pid_t got = ::waitpid(-1, nullptr, __WALL | WNOHANG);
    if (got < 0 && errno == ECHILD) return;
    if (got != 0) continue;
    const timespec wait{0, 10'000'000};
    ::sigtimedwait(&child, nullptr, &wait);
  }
}

ChildSignal::ChildSignal() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  check(::sigaction(SIGCHLD, &action, &old_action_), "sigaction");
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  check(::sigprocmask(SIG_BLOCK, &child, &old_mask_), "sigprocmask");
}
ChildSignal::~ChildSignal() {
  ::sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
  ::sigaction(SIGCHLD, &old_action_, nullptr);
}

}  // namespace mcr::sys
