// clone3(2) into foreign code: apart because the child must not run a single instruction of C++.
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys/clone_raw.h"
#include "core/sys/failure.h"

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL  // 5.5
#endif

namespace mcr::sys {

long clone_raw(const CloneRequest& request) {
  pid_t set_tid = request.pid;
  clone_args args{};
  args.flags = CLONE_CLEAR_SIGHAND | (request.sibling ? static_cast<uint64_t>(CLONE_PARENT) : 0);
  args.exit_signal = request.sibling ? 0 : SIGCHLD;
  args.set_tid = reinterpret_cast<uint64_t>(&set_tid);
  args.set_tid_size = request.pid != 0 ? 1 : 0;

  long result = SYS_clone3;
  // The child first closes our end of the socket: should we die now, its read() sees the end of file and it exits.
  register uint64_t base asm("r12") = request.base;
  register uint64_t socket asm("r13") = static_cast<uint64_t>(request.socket);
  register uint64_t close_fd asm("r14") = static_cast<uint64_t>(request.close_fd);
  register uint64_t entry asm("r15") = request.entry;
  register uint64_t stack asm("rbx") = request.stack;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "mov %%rbx, %%rsp\n\t"
      "mov $3, %%eax\n\t"  // close
      "mov %%r14, %%rdi\n\t"
      "syscall\n\t"
      "xor %%r14d, %%r14d\n\t"
      "jmp *%%r15\n\t"
      "1:\n\t"
      : "+a"(result)
      : "D"(&args), "S"(sizeof args), "r"(base), "r"(socket), "r"(close_fd), "r"(entry), "r"(stack)
      : "rcx", "r11", "memory");
  return result;
}

namespace {

// The process in between tells by its exit status why it failed; errno values fit.
long clone_orphan(const CloneRequest& request) {
  const pid_t between = check(::fork(), "fork");
  if (between == 0) {
    const long result = clone_raw(request);
    ::_exit(result < 0 ? static_cast<int>(-result) : 0);
  }
  int status = 0;
  while (::waitpid(between, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? request.pid
         : WIFEXITED(status)                           ? -WEXITSTATUS(status)
                                                       : -EINTR;
}

}  // namespace

HostPid clone_into(const CloneRequest& request) {
  const BlockAllSignals no_signals;
  const long result = request.orphan ? clone_orphan(request) : clone_raw(request);
  if (result < 0) throw_code(static_cast<int>(-result), fmt::format("clone3 with pid {}", request.pid));
  return HostPid(static_cast<pid_t>(result));
}

}  // namespace mcr::sys
