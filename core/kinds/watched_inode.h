// What inotify and fanotify share: the kernel watches inodes, and has forgotten by which names.
#pragma once

#include <string>

#include "core/kinds/kind.h"

namespace mcr::kinds {

struct WatchedInode {
  uint64_t inode = 0, device = 0;  // as stat(2) gives them
  int handle_type = 0;             // name_to_handle_at(2)
  std::string handle;              // empty: the file system gives none
};
struct NamedInode {
  std::string path;
  mode_t mode = 0;
};

// Throws Fault::refused without the right to open a file by its handle.
void require_right_to_find();
// A name counts when it leads there again. Throws Fault::refused when there is none.
NamedInode name_of(const WatchedInode& watched);
// For look(): what waits in the queue can neither be read without being taken nor put back, so there must be nothing. A
// program that reads is given a moment to do so. Throws Fault::refused.
void require_no_events(const FileView& file);

}  // namespace mcr::kinds
