// /proc/PID/status, /proc/PID/stat and kin (proc(5)). Pure functions of the text; throw Error (Fault::system) when a
// line that must be there is missing or unreadable. Any thread.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mcr::procfs {

struct Status {
  std::string name;
  char state = '?';  // R S D T t Z X I
  pid_t tgid = 0, pid = 0, ppid = 0, tracer = 0;
  // One number a pid namespace, outermost first; the last is as the program itself sees it. Empty before 4.1.
  std::vector<pid_t> ns_tgid, ns_pid, ns_pgid, ns_sid;
  std::array<uint32_t, 4> uid{}, gid{};  // real, effective, saved, file system
  std::vector<uint32_t> groups;
  uint32_t umask = 0;
  uint32_t threads = 0;
  uint64_t locked_kb = 0;                            // VmLck: what mlock(2) and kin account for
  std::optional<uint64_t> anonymous_kb, swapped_kb;  // RssAnon (4.5), VmSwap; about right
  uint64_t sig_pending = 0, shared_pending = 0, sig_blocked = 0, sig_ignored = 0, sig_caught = 0;
  uint64_t cap_inheritable = 0, cap_permitted = 0, cap_effective = 0, cap_bounding = 0, cap_ambient = 0;
  bool no_new_privs = false;
  int seccomp = 0;  // 0 none, 1 strict, 2 filter
  // "Speculation_Store_Bypass" (4.17) and "SpeculationIndirectBranch" (5.10); empty without them
  std::string store_bypass, indirect_branch;
  std::optional<bool> thp_enabled;  // "THP_enabled", newer kernels
};
Status parse_status(std::string_view text);

struct Stat {  // /proc/PID/stat; fields that need rights read 0 without them
  pid_t pid = 0;
  std::string comm;  // may hold spaces and brackets
  char state = '?';
  pid_t ppid = 0, pgrp = 0, session = 0;
  int tty_nr = 0;
  uint32_t flags = 0;  // PF_*; 0x00200000 is PF_KTHREAD
  int64_t nice = 0;
  uint64_t start_time = 0;  // clock ticks since boot
  uint64_t start_code = 0, end_code = 0, start_stack = 0;
  uint64_t start_data = 0, end_data = 0, start_brk = 0, arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
  int exit_signal = 0;  // sent to the parent at its end
  int processor = 0;    // that it last ran on
  int exit_code = 0;    // as wait(2) gives it; of a zombie
};
Stat parse_stat(std::string_view text);

// /proc/PID/fdinfo/N: the lines every kind has.
struct FdInfo {
  int64_t position = 0;
  uint32_t flags = 0;  // octal O_* as printed, O_CLOEXEC included
  int mount_id = 0;
  uint64_t inode = 0;             // 0 when the kernel does not print it
  std::vector<std::string> rest;  // every other line, unchanged ("eventfd-count: 0", "lock: ...")
};
FdInfo parse_fdinfo(std::string_view text);

// A lock as fdinfo and /proc/locks print it (lock_get_status() in fs/locks.c).
struct FileLock {
  std::string kind;  // "FLOCK", "POSIX", "OFDLCK" (3.15), "LEASE", ...
  std::string mode;  // "ADVISORY"; of a lease "ACTIVE", "BREAKING", "BREAKER"
  std::string type;  // "READ", "WRITE", "UNLCK"
  pid_t pid = 0;     // -1: none, it belongs to an open file
  uint32_t device_major = 0, device_minor = 0;
  uint64_t inode = 0;
  uint64_t start = 0;
  uint64_t bytes = 0;  // 0: to the end
};
std::optional<FileLock> parse_lock(std::string_view line);  // of fdinfo; nullopt: a line that is none
std::vector<FileLock> parse_locks(std::string_view text);   // /proc/locks, without those who wait for one

// /proc/PID/timers: POSIX timers (timer_create(2)).
struct Timer {
  int id = 0;
  int signal = 0;
  uint64_t value = 0;  // sigev_value
  int notify = 0;      // SIGEV_SIGNAL 0, SIGEV_NONE 1, SIGEV_THREAD 2, SIGEV_THREAD_ID 4
  pid_t target = 0;    // pid, or tid for "tid."
  bool target_is_thread = false;
  int clock = 0;
};
std::vector<Timer> parse_timers(std::string_view text);

// /proc/PID/limits: soft and hard in the order of RLIMIT_* numbers; RLIM_INFINITY for "unlimited".
struct Limit {
  int resource = 0;
  uint64_t soft = 0, hard = 0;
};
std::vector<Limit> parse_limits(std::string_view text);

// /proc/PID/syscall: nullopt for "running".
struct SyscallState {
  int64_t number = -1;  // -1: blocked outside a system call
  std::array<uint64_t, 6> args{};
  uint64_t stack_pointer = 0, program_counter = 0;
};
std::optional<SyscallState> parse_syscall(std::string_view text);

// se.exec_start of /proc/PID/task/TID/sched: when the thread last held a CPU, nanoseconds of the scheduler's clock.
std::optional<uint64_t> parse_exec_start_ns(std::string_view text);

}  // namespace mcr::procfs
