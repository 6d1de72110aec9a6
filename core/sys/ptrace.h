// ptrace(2) requests and waiting for tracees. Must be called by the thread that seized them. Throws Error unless the
// comment names an expected outcome; "gone" is a tracee that was killed or ended (ESRCH).
#pragma once

#include <linux/filter.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/ids.h"
#include "core/sys/process.h"

namespace mcr::sys {

using Registers = user_regs_struct;

bool seize(HostTid tid, uint64_t options);            // false: gone
bool interrupt(HostTid tid);                          // false: gone
bool detach(HostTid tid, int signal = 0);             // false: gone or not stopped
bool resume(HostTid tid, int signal = 0);             // PTRACE_CONT; false: gone
bool resume_to_syscall(HostTid tid, int signal = 0);  // PTRACE_SYSCALL; false: gone
bool single_step(HostTid tid);                        // false: gone
void set_options(HostTid tid, uint64_t options);
uint64_t get_event_message(HostTid tid);  // of a PTRACE_EVENT_*: the number of a new process, an exit status
Registers get_registers(HostTid tid);
void set_registers(HostTid tid, const Registers& registers);
size_t get_xstate(HostTid tid, std::span<std::byte> buffer);  // NT_X86_XSTATE; bytes filled
void set_xstate(HostTid tid, std::span<const std::byte> state);
uint64_t get_signal_mask(HostTid tid);
void set_signal_mask(HostTid tid, uint64_t mask);
siginfo_t get_siginfo(HostTid tid);
std::vector<siginfo_t> peek_signals(HostTid tid, bool shared);  // PTRACE_PEEKSIGINFO, 3.10

struct RseqConfiguration {  // PTRACE_GET_RSEQ_CONFIGURATION, 5.13
  uint64_t address;
  uint32_t size, signature, flags, pad;
};
RseqConfiguration get_rseq(HostTid tid);

// The filter with this number, 0 being the oldest; nullopt: there are no more. Needs CAP_SYS_ADMIN, and that we are
// under no seccomp ourselves (PTRACE_SECCOMP_GET_FILTER, 4.4).
std::optional<std::vector<sock_filter>> get_seccomp_filter(HostTid tid, uint64_t number);
uint64_t get_seccomp_flags(HostTid tid, uint64_t number);  // PTRACE_SECCOMP_GET_METADATA, 4.16; 0 before
inline constexpr uint64_t kSuspendSeccomp = 1 << 21;       // PTRACE_O_SUSPEND_SECCOMP (4.3): while we trace it

// PR_SET_SYSCALL_USER_DISPATCH of a stopped thread (PTRACE_GET/SET_SYSCALL_USER_DISPATCH_CONFIG, 6.4). mode 0: off, or
// it cannot be asked.
struct SyscallDispatch {
  uint64_t mode = 0, selector = 0, offset = 0, length = 0;
};
SyscallDispatch get_syscall_dispatch(HostTid tid);
void set_syscall_dispatch(HostTid tid, const SyscallDispatch& configuration);
bool has_io_permissions(HostTid tid);  // ioperm(2): a regset NT_386_IOPERM that is not empty

inline constexpr uint64_t kTraceClone = 1 << 3;  // PTRACE_O_TRACECLONE: a new process or thread is our tracee, too
inline constexpr uint64_t kExitKill = 1 << 20;   // PTRACE_O_EXITKILL (3.8): it ends with us
inline constexpr int kEventClone = 3;            // PTRACE_EVENT_CLONE

// What waitpid reported of a tracee.
struct StopEvent {
  enum class Kind {
    trap,        // PTRACE_EVENT_STOP with SIGTRAP: our interrupt, or a new thread
    group_stop,  // PTRACE_EVENT_STOP with a stop signal: job control
    syscall,     // entry or exit (PTRACE_O_TRACESYSGOOD)
    signal,      // a signal is about to be delivered
    event,       // another PTRACE_EVENT_*
    ended        // exited or killed; no longer a tracee
  };
  Kind kind;
  int signal = 0;  // for signal and group_stop; the exit status word for ended
  int event = 0;
};

// The next event of this thread. nullopt: none before the deadline (throws nothing).
// SIGCHLD must be blocked (ChildSignal below) so that waiting does not lose a wake-up.
std::optional<StopEvent> wait_stop(HostTid tid, const Deadline& deadline);
// Without waiting at all.
std::optional<StopEvent> poll_stop(HostTid tid);

// Collects the ends of all tracees, which have been killed, until none is left. Must not be called while other children
// of this process are alive that somebody else wants to wait for.
void reap_killed_tracees(const Deadline& deadline);

// Blocks SIGCHLD with its default disposition for the life of the object, so that sigtimedwait can wait for tracees.
class ChildSignal {
 public:
  ChildSignal();
  ~ChildSignal();
  ChildSignal(const ChildSignal&) = delete;
  ChildSignal& operator=(const ChildSignal&) = delete;

 private:
  sigset_t old_mask_;
  struct sigaction old_action_;
};

}  // namespace mcr::sys
