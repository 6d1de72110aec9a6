// Locks on files: flock(2), those of fcntl(2) that belong to a process (POSIX) or to an open file (F_OFD_SETLK), and
// leases (F_SETLEASE).
#pragma once

#include <string>
#include <vector>

#include "core/kinds/kind.h"

namespace mcr::kinds {

// FileLock.breaking.
inline constexpr uint32_t kToNothing = 1, kToRead = 2;
inline constexpr const char* kFlock = "flock";
inline constexpr const char* kPosix = "posix";
inline constexpr const char* kOpenFile = "open_file";
inline constexpr const char* kLease = "lease";

// ---- dump ----
// Throws Fault::refused for a lock when they are not to be kept, and for one that cannot be.
void look_at_locks(const FileView& file, bool are_kept);
// Those of the process, or those of the open file.
std::vector<mcr::image::FileLock> locks_of(const FileView& file, bool of_process);
// Opening its file by name would break a lease.
bool has_lease(const FileView& file);
bool has_write_lease(const FileView& file);

// ---- restore ----
std::string describe(const mcr::image::FileLock& lock);  // "a write lock (flock)"
// Who stands in the way of this lock on the file at `path`, as far as it can be seen; appended.
void check_lock(const mcr::image::FileLock& lock, const std::string& path, std::vector<Problem>& problems);

}  // namespace mcr::kinds
