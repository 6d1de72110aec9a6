// Attributes of open files. Throws Error unless said otherwise. Any thread.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::sys {

struct FileOwner {  // who gets SIGIO: F_GETOWN_EX, F_GETSIG (fcntl(2))
  int type = 0;     // F_OWNER_*; meaningless when pid is 0
  int pid = 0;
  int signal = 0;
};
FileOwner get_owner(int fd);
void set_owner_signal(int fd, int signal);
void set_ownership(int fd, uint32_t uid, uint32_t gid);
void set_mode(int fd, uint32_t mode);
void set_path_ownership(const std::string& path, uint32_t uid, uint32_t gid);  // of the file itself
void set_path_mode(const std::string& path, uint32_t mode);
void set_modification_time(int fd, int64_t ns);
void set_modification_time_of(const std::string& path, int64_t ns);  // follows links
// Extended attributes without a value, as marks (xattr(7)). try_set: false where the file system has none.
bool try_set_attribute(int fd, const char* name);
bool try_set_attribute(const std::string& path, const char* name);  // of a link itself, too
bool has_attribute(const std::string& path, const char* name);      // of the file itself, no link is followed
void remove_attribute(int fd, const char* name);
void try_remove_attribute(const std::string& path, const char* name);  // follows links
void rename_to_free(const std::string& from, const std::string& to);   // RENAME_NOREPLACE (3.15)
bool can_be_polled(int fd);  // whether poll(2) may have to wait for it; false for regular files
void link_open_file(int fd, const std::string& path);  // gives an O_TMPFILE file a name; it must be free
// Another name for the file that a link below /proc leads to.
void link_through(const std::string& door, const std::string& path);
// A node of the type and permissions in `mode` (mknod(2), symlink(2) for a link to `target`).
void make_node(const std::string& path, mode_t mode, dev_t device, const std::string& target);
void set_mode_of(const std::string& path, uint32_t mode);
void set_ownership_of(const std::string& path, uint32_t uid, uint32_t gid);  // of a link itself, too

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
// The name in `folder` of the entry with this inode number; nullopt: none, or more than `limit` entries were read.
std::optional<std::string> find_entry(const std::string& folder, ino_t inode, size_t limit);

}  // namespace mcr::sys
