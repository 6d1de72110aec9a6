// One saved process as an ELF core, which debuggers open as they open the kernel's. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/inspect/saved_tree.h"

namespace mcr::inspect {

struct CoreReport {
  uint64_t threads = 0, mappings = 0;
  uint64_t bytes = 0, stored_bytes = 0;  // of the file, and of the memory that was written into it
  std::string executable;
  // Mapped files of which pages could not be had: "PATH was changed after the dump".
  std::vector<std::string> missing;
};

// Writes it to an empty file, sparse. Memory that the process has of its own is stored; of mapped files only what lies
// between such pages and the first page of ELF files, as the kernel does by default (core(5)), for a debugger finds
// the rest in the files. with_files: all of them that are as they were at the dump. Throws Fault::image for a damaged
// image, Error (refused) when the file system has no room for it.
CoreReport write_core(const SavedTree& tree, int32_t pid, int file, bool with_files);

}  // namespace mcr::inspect
