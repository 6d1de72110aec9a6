// A userfaultfd(2) by which the missing pages of another process are filled when it first touches them. It belongs to
// the memory of the process that made it; whoever holds the descriptor answers. When its last descriptor is closed the
// kernel fills what is missing with zeros. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace mcr::sys {

// What the program is to call userfaultfd(2) with: faults inside of system calls are to be had too (CAP_SYS_PTRACE, or
// vm.unprivileged_userfaultfd).
uint64_t user_fault_flags();
// Agrees on events and on poison. 0, or errno: EINVAL the kernel is older than 6.6, EPERM without CAP_SYS_PTRACE.
int try_enable_user_faults(int fd);
// Empty: this process may do all of it here; else what is in the way.
std::string why_no_user_faults();
// The same for pages that nobody touches before they are there: takes no rights (5.11), and there are no events.
uint64_t untouched_fault_flags();
int try_enable_untouched(int fd);
// Pages of [start, end) that are missing from now on. 0, or errno.
int try_register_missing(int fd, uint64_t start, uint64_t end);

inline constexpr size_t kFaultEventBytes = 32;

struct FaultEvent {
  enum class Kind { none, fault, fork, remap, remove, unmap, other };
  Kind kind = Kind::none;
  uint64_t start = 0, end = 0;  // fault: the page; others: the range
  uint64_t to = 0;              // remap: where it is now
  int file = -1;                // fork: of the child's memory
};
// The raw bytes of one event; zeros: Kind::none.
FaultEvent decode_fault_event(const std::byte* raw);
// As many as wait and fit. Bytes; 0: none. Descriptors that come with them are close-on-exec.
size_t read_fault_events(int fd, std::span<std::byte> raw);

// How far it came from the start, and errno where it stopped: EEXIST a page is there, EAGAIN an event waits to be read,
// ENOENT there is no such mapping of ours, or it ends there, ESRCH the memory is gone.
struct Filled {
  uint64_t bytes = 0;
  int code = 0;
};
Filled try_copy_pages(int fd, uint64_t to, const std::byte* from, uint64_t bytes);
Filled try_zero_pages(int fd, uint64_t to, uint64_t bytes);
Filled try_poison_pages(int fd, uint64_t to, uint64_t bytes);  // a touch is SIGBUS, for good; 6.6
// Whether [start, start + bytes) lies in one mapping that is watched; asks, and changes nothing.
enum class Watched { yes, no, changing, gone, unknown };  // changing: an event is under way; gone: the memory is
Watched probe_pages(int fd, uint64_t start, uint64_t bytes);
// No event is under way: what has happened so far was read.
bool is_quiet(int fd);
void wake_faults(int fd, uint64_t start, uint64_t bytes);  // whoever waits there looks again
void wake_all_faults(int fd);

}  // namespace mcr::sys
