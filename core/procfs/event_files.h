// What /proc/PID/fdinfo says of files that only exist while they are open (proc_pid_fdinfo(5)): from the lines that
// parse_fdinfo() leaves. Pure functions; throw Error (Fault::system) when a line that must be there is missing or
// unreadable. Any thread.
#pragma once

#include "core/procfs/status.h"

namespace mcr::procfs {

struct EventCounterInfo {
  uint64_t count = 0;
  std::optional<bool> is_semaphore;  // 6.5
};
EventCounterInfo event_counter_of(const FdInfo& info);

struct TimerFileInfo {
  int clock = 0;
  uint64_t ticks = 0;
  uint32_t settime_flags = 0;  // TFD_TIMER_*
  int64_t value_ns = 0;        // until it expires; 0: not armed, or it has an interval and was not armed again yet
  int64_t interval_ns = 0;
};
TimerFileInfo timer_file_of(const FdInfo& info);

uint64_t signal_mask_of(const FdInfo& info);  // of a signalfd; bit 0 is signal 1

struct WatchInfo {  // of an epoll, in the order of the kernel
  int fd = -1;      // the number that it was added with
  uint32_t events = 0;
  uint64_t data = 0;
  uint64_t inode = 0;
  uint64_t device = 0;  // as stat(2) gives it
};
std::vector<WatchInfo> watches_of(const FdInfo& info);

struct PidFileInfo {
  pid_t pid = 0;      // -1: it has ended and was waited for; 0: it is in another namespace
  pid_t own_pid = 0;  // as it sees itself
};
PidFileInfo pid_file_of(const FdInfo& info);

struct InotifyInfo {
  int wd = 0;
  uint64_t inode = 0;
  uint64_t device = 0;  // of its file system, as stat(2) gives it
  uint32_t mask = 0;
  int handle_type = 0;  // name_to_handle_at(2)
  std::string handle;   // its bytes; empty: the file system gives none
};
std::vector<InotifyInfo> inotify_of(const FdInfo& info);

struct FanotifyMarkInfo {
  enum class Kind { inode, mount, file_system, mount_namespace } kind = Kind::inode;
  uint64_t inode = 0;   // of a mount namespace too
  uint64_t device = 0;  // of its file system, as stat(2) gives it
  int mount = 0;        // its number in /proc/PID/mountinfo
  uint32_t flags = 0, mask = 0, ignored_mask = 0;
  int handle_type = 0;
  std::string handle;
};
struct FanotifyInfo {
  uint32_t flags = 0, event_flags = 0;  // of fanotify_init(2)
  std::vector<FanotifyMarkInfo> marks;  // the youngest first
};
FanotifyInfo fanotify_of(const FdInfo& info);

struct IoUringInfo {
  uint32_t sq_entries = 0, cq_entries = 0;
  uint32_t taken = 0, completed = 0;  // what the kernel counts itself
  bool has_thread = false;            // IORING_SETUP_SQPOLL
  uint32_t files = 0;                 // places for registered files
  struct Buffer {
    uint64_t address = 0, bytes = 0;  // 0 bytes: the place is empty
  };
  std::vector<Buffer> buffers;
  size_t waiting = 0;  // requests that wait for a file to be ready, completions that found no room
  bool has_personalities = false, polls_network = false;
  std::vector<std::string> entries, completions;  // as printed, of those that wait
  // Nothing is in flight: all that the kernel took was completed. It does not tell apart what completes more than once
  // (multishot) or without a word (IOSQE_CQE_SKIP_SUCCESS).
  bool is_idle() const { return taken == completed && waiting == 0; }
};
IoUringInfo io_uring_of(const FdInfo& info);

// Where a file system is mounted, from /proc/PID/mountinfo.
std::vector<std::string> mounts_of(std::string_view mountinfo, uint64_t device);
// Where the mount of this number is; nullopt: there is none, or it cannot be seen from here.
std::optional<std::string> folder_of_mount(std::string_view mountinfo, int mount);

}  // namespace mcr::procfs
