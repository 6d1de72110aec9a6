// Probes: creating and identifying tasks, and telling the kernel about them.
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>

#include "core/base/unique_fd.h"
#include "core/sys/failure.h"
#include "core/sys/features_probe.h"
#include "core/sys/file.h"

namespace mcr::sys::probe {
namespace {

constexpr int kTimerCreateRestoreIds = 77;  // PR_TIMER_CREATE_RESTORE_IDS, 6.15; argument 1: on

void reap(pid_t pid, int* status = nullptr) {
  while (waitpid(pid, status, 0) < 0 && errno == EINTR) {
  }
}

// Creates and reaps a process with this pid: 0 or an errno value. Without CLONE_VM the child may use our stack. It
// looks itself: in a new pid namespace clone3 returns another number to us, who are outside.
int clone_with_pid(pid_t pid) {
  clone_args args = {};
  args.exit_signal = SIGCHLD;
  args.set_tid = reinterpret_cast<uint64_t>(&pid);
  args.set_tid_size = 1;
  const long child = syscall(SYS_clone3, &args, sizeof args);
  if (child == 0) _exit(getpid() == pid ? 0 : ESRCH);
  if (child < 0) return errno;
  int status = 0;
  reap(static_cast<pid_t>(child), &status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

// The pid of a process that just ended is free, and stays so until the pids have gone once round; but another process
// may be asking for it too (EEXIST), so there are a few tries.
int clone_with_free_pid() {
  int code = EEXIST;
  for (int tries = 0; tries < 5 && code == EEXIST; ++tries) {
    const pid_t ended = fork();
    if (ended == 0) _exit(0);
    if (ended < 0) return errno;
    reap(ended);
    code = clone_with_pid(ended);
  }
  return code;
}

// The first process of a new pid namespace can only get the pid 1.
int clone_in_user_namespace() {
  if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0) return errno;
  return clone_with_pid(1);
}

int create_timer_with_id() {
  constexpr int kWanted = 17;
  if (prctl(kTimerCreateRestoreIds, 1, 0, 0, 0) < 0) return errno;
  sigevent event = {};
  event.sigev_notify = SIGEV_NONE;
  int id = kWanted;
  if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id) < 0) return errno;
  return id == kWanted ? 0 : EINVAL;
}

Finding file_holds(const char* path, std::string_view words) {
  const std::optional<std::string> text = try_read_text(path);
  if (!text) return no(fmt::format("{}: cannot be read", path));
  return text->find(words) != std::string::npos ? yes() : no(fmt::format("{}: has no \"{}\"", path, words));
}

}  // namespace

Finding pidfd() {
  const UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  return by_errno(fd.get(), "pidfd_open");
}

Finding pidfd_get_fd() {
  const UniqueFd file(::open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
  Victim victim;
  if (victim.failure() != 0) return by_code(victim.failure(), "fork");
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, victim.pid(), 0)));
  if (!process.valid()) return by_errno(-1, "pidfd_open");
  const UniqueFd copy(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), file.get(), 0)));
  return by_errno(copy.get(), "pidfd_getfd");
}

Finding compare_by_kcmp() {
  const UniqueFd file(::open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
  Victim victim;
  if (victim.failure() != 0) return by_code(victim.failure(), "fork");
  const long order = syscall(SYS_kcmp, getpid(), victim.pid(), KCMP_FILE, file.get(), file.get());
  if (order < 0) return by_errno(order, "kcmp");
  return order == 0 ? yes() : no("kcmp: a file inherited through fork is not the same");
}

// Wants CAP_CHECKPOINT_RESTORE (5.9) or CAP_SYS_ADMIN over the user namespace that owns the pid namespace; everybody
// has that in a namespace of his own.
Finding clone3_set_tid() {
  const int code = in_child(clone_with_free_pid);
  if (code != EPERM) return by_code(code, "clone3 with set_tid");
  if (in_child(clone_in_user_namespace) == 0) return yes("only inside a new user namespace");
  return by_code(code, "clone3 with set_tid");
}

Finding prctl_set_mm_map() {
  unsigned int size = 0;
  return by_errno(prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0), "prctl PR_SET_MM_MAP_SIZE");
}

Finding prctl_get_tid_address() {
  int* address = nullptr;
  return by_errno(prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0), "prctl PR_GET_TID_ADDRESS");
}

Finding prctl_timer_restore_ids() {
  return by_code(in_child(create_timer_with_id), "PR_TIMER_CREATE_RESTORE_IDS");
}

Finding proc_timers() {
  const UniqueFd fd(::open("/proc/self/timers", O_RDONLY | O_CLOEXEC));
  return by_errno(fd.get(), "open /proc/self/timers");
}

// Mode 0400: root's, or who may read every file.
Finding timer_list() {
  const UniqueFd fd(::open("/proc/timer_list", O_RDONLY | O_CLOEXEC));
  return by_errno(fd.get(), "open /proc/timer_list");
}

Finding proc_sched() {
  return file_holds("/proc/self/sched", "se.exec_start");
}

Finding user_namespaces() {
  return by_code(in_child([] { return unshare(CLONE_NEWUSER) < 0 ? errno : 0; }), "unshare CLONE_NEWUSER");
}

}  // namespace mcr::sys::probe
