// Attributes of open files. Throws Error unless said otherwise. Any thread.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"

namespace mcr::sys {

struct FileOwner {  // who gets SIGIO: F_GETOWN_EX, F_GETSIG (fcntl(2))
  int type = 0;     // F_OWNER_*; meaningless when pid is 0
  int pid = 0;
  int signal = 0;
};
FileOwner get_owner(int fd);
// kcmp(2) KCMP_FILE of two descriptors: 0 one open file, 1 less, 2 greater. nullopt: closed or ended meanwhile, or not
// ours to see.
std::optional<int> try_compare_files(HostPid a, int fd_a, HostPid b, int fd_b);
void set_owner_signal(int fd, int signal);
void set_ownership(int fd, uint32_t uid, uint32_t gid);
void set_mode(int fd, uint32_t mode);
void set_path_ownership(const std::string& path, uint32_t uid, uint32_t gid);  // of the file itself
void set_path_mode(const std::string& path, uint32_t mode);
void set_modification_time(int fd, int64_t ns);
void set_modification_time_of(const std::string& path, int64_t ns);    // follows links
void try_remove_attribute(const std::string& path, const char* name);  // xattr(7); follows links
bool can_be_polled(int fd);  // whether poll(2) may have to wait for it; false for regular files
// Another name for the file that a link below /proc leads to.
void link_through(const std::string& door, const std::string& path);
void set_mode_of(const std::string& path, uint32_t mode);

uint64_t get_write_hint(int fd);  // F_GET_RW_HINT (4.13); 0 where there is none
void set_write_hint(int fd, uint64_t hint);

bool is_nfs(const std::string& path);      // lies on NFS
bool is_overlay(const std::string& path);  // lies on overlayfs

struct LockRange {
  bool write = false;
  uint64_t start = 0, bytes = 0;  // 0 bytes: to the end
};
// Who has a lock in the way of this one (F_OFD_GETLK, 3.15): a pid, or -1 for an open file.
std::optional<pid_t> find_lock(int fd, const LockRange& range);

// A file by a number that its file system knows it by, whatever names it has (name_to_handle_at(2)).
struct FileHandle {
  int type = 0;
  std::string bytes;
};
std::optional<FileHandle> handle_of(const std::string& path);  // nullopt: the file system has none
// Needs CAP_DAC_READ_SEARCH. nullopt: the file is gone, or may not be opened so. `mount`: any file of its mount.
std::optional<UniqueFd> open_handle(int mount, const FileHandle& handle, int flags);
// The names in a folder but . and .., as they are read. What `take` throws goes through.
void list_names(const std::string& folder, const std::function<void(std::string_view)>& take);
// The name in `folder` of the entry with this inode number; nullopt: none, or more than `limit` entries were read.
std::optional<std::string> find_entry(const std::string& folder, ino_t inode, size_t limit);

}  // namespace mcr::sys
