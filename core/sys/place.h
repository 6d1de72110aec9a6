// What is done to a name in a folder that is open: whatever becomes of the path by which the folder was found, and with
// no symbolic link followed in `name`. Throws Error unless said otherwise. Any thread.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::sys {

// openat2(2) with RESOLVE_NO_SYMLINKS (5.6): a symbolic link anywhere in `path` is ELOOP, unless it is the last name
// and the flags are O_PATH | O_NOFOLLOW. O_CLOEXEC is added; no file is made. probe: nullopt, and `code` gets errno.
std::optional<UniqueFd> probe_open_in(int dir, const std::string& path, int flags, int& code);
UniqueFd open_in(int dir, const std::string& path, int flags);

bool try_make_directory_at(int dir, const std::string& name, mode_t mode);  // false: the name is taken
// A node of the type and permissions in `mode` (mknodat(2), symlinkat(2) for a link to `target`).
void make_node_at(int dir, const std::string& name, mode_t mode, dev_t device, const std::string& target);
// RENAME_NOREPLACE (3.15). false: `to` is taken.
bool try_rename_to_free(int from_dir, const std::string& from, int to_dir, const std::string& to);
// Another name for the file that a link below /proc leads to. false: the name is taken.
bool try_link_through(const std::string& door, int dir, const std::string& name);
void set_ownership_at(int dir, const std::string& name, uint32_t uid, uint32_t gid);

// Extended attributes as marks (xattr(7)). try_mark: false where the file system has none, or we may not.
bool try_mark_at(int dir, const std::string& name, const char* attribute, const std::string& value);
bool try_mark(int fd, const char* attribute, const std::string& value);
// nullopt: there is none, or it cannot be read. A value of more than 255 bytes is none of ours, and is nullopt.
std::optional<std::string> mark_at(int dir, const std::string& name, const char* attribute);

}  // namespace mcr::sys
