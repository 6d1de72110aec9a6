// Checked calls on other processes: signals, pidfds, identity of objects, memory, limits. Every function throws Error
// unless its comment names an expected outcome. Any thread.
#pragma once

#include <sched.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"

namespace mcr::sys {

using Clock = std::chrono::steady_clock;
using Deadline = std::optional<Clock::time_point>;  // nullopt: none

HostPid own_pid();
HostPid parent_pid();
pid_t session_of(pid_t pid);  // getsid(2); 0: the caller
pid_t group_of(pid_t pid);
bool try_kill(HostPid pid, int signal);  // false: no such process
// Helps a process that SIGKILL was sent to with giving its pages back, which its end waits for
// (process_mrelease, 5.15).
void release_memory_of_killed(int pidfd);
bool group_exists(pid_t group);                                // some process has this group id
UniqueFd open_pidfd(HostPid pid);                              // pidfd_open(2), 5.3
UniqueFd open_thread_pidfd(HostTid tid);                       // PIDFD_THREAD, 6.9
std::optional<UniqueFd> try_open_pidfd(HostPid pid);           // nullopt: no such process
UniqueFd get_fd(int pidfd, int remote_fd);                     // pidfd_getfd(2), 5.6
std::optional<UniqueFd> try_get_fd(int pidfd, int remote_fd);  // nullopt: closed meanwhile, or O_PATH
int compare_files(HostPid a, int fd_a, HostPid b, int fd_b);   // kcmp(2) KCMP_FILE: 0 equal, 1 less, 2 greater
// Whether two tasks share a kernel object (KCMP_VM, KCMP_FILES, ...). nullopt when one of them has ended.
std::optional<bool> share_object(pid_t a, pid_t b, int type);
int compare_objects(pid_t a, pid_t b, int type);  // kcmp(2): 0 the same, 1 less, 2 greater

// process_vm_readv/writev of one stretch; all of it or Error.
void read_memory(HostPid pid, RemoteAddr from, void* to, size_t size);
void write_memory(HostPid pid, RemoteAddr to, const void* from, size_t size);
// False when the memory is not there or not readable.
bool try_read_memory(HostPid pid, RemoteAddr from, void* to, size_t size);

struct RobustList {
  uint64_t head = 0, length = 0;
};
RobustList robust_list_of(HostTid tid);  // get_robust_list(2)

struct SchedAttr {  // sched_getattr(2), sizes as of 5.3 (with util clamp)
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
  uint32_t util_min, util_max;
};
SchedAttr scheduling_of(HostTid tid);
void set_scheduling(HostTid tid, const SchedAttr& attr);
std::vector<std::byte> affinity_of(HostTid tid);
bool try_set_affinity(HostTid tid, std::span<const std::byte> mask);  // false: none of these CPUs may be used (EINVAL)
void set_affinity(HostTid tid, std::span<const std::byte> mask);
uint64_t core_cookie_of(HostTid tid);  // PR_SCHED_CORE_GET, 5.14; 0: none, or the kernel knows none
int io_priority_of(HostTid tid);
void set_io_priority(HostTid tid, int value);
rlimit limit_of_self(int resource);
void set_limit_of_self(int resource, const rlimit& limit);  // one that may not be set stays

// Parent and child ends of a SOCK_SEQPACKET pair.
struct SocketPair {
  UniqueFd ours, theirs;
};
SocketPair make_socket_pair();
// One message; descriptors travel with it (SCM_RIGHTS, at most 253).
void send_message(int socket, const void* data, size_t size, std::span<const int> fds = {});
// Bytes received; 0: the other side is gone. nullopt: deadline reached.
std::optional<size_t> receive_message(int socket, void* data, size_t size, const Deadline& deadline);
// Waits for one message of that size with one descriptor. False: the other side is gone, or sends something else.
bool try_receive_with_file(int socket, void* data, size_t size, UniqueFd& file);

// Memory of this process.
void* map_anonymous_at(uint64_t address, size_t size, int prot);  // MAP_FIXED_NOREPLACE
void protect(void* address, size_t size, int prot);
void unmap(void* address, size_t size);

// Blocks all signals of this thread while it lives (so that a cloned child starts with all blocked).
class BlockAllSignals {
 public:
  BlockAllSignals();
  ~BlockAllSignals();
  BlockAllSignals(const BlockAllSignals&) = delete;
  BlockAllSignals& operator=(const BlockAllSignals&) = delete;

 private:
  uint64_t old_ = 0;
};

// clone3(2) of this process with a chosen pid (5.5). The child closes `close_fd` and jumps to `entry` with r12 = base,
// r13 = socket, r14 = 0 on `stack`, all signals at their defaults (CLONE_CLEAR_SIGHAND, 5.5); it never returns here.
struct CloneRequest {
  pid_t pid = 0;
  bool sibling = false;  // CLONE_PARENT
  bool orphan = false;   // made by a process that ends at once: a child of init or of the next subreaper
  uint64_t entry = 0, base = 0, stack = 0;
  int socket = -1, close_fd = -1;
};
HostPid clone_into(const CloneRequest& request);

std::string kernel_release();
std::string host_name();
uint64_t clock_ns(int clock);
uint64_t clock_resolution_ns(int clock);  // clock_getres(2); of a coarse clock: the kernel's tick
uint64_t page_size();
std::optional<uint64_t> vdso_address();  // AT_SYSINFO_EHDR of this process
bool has_capability(int capability);     // effective, of this process
uint32_t effective_uid();
uint32_t effective_gid();
bool is_other_user(uint32_t uid, uint32_t gid);  // than the effective ones

}  // namespace mcr::sys
