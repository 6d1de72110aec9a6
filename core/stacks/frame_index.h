// A sorted table of the entries of .eh_frame, for files whose linker has made none (.eh_frame_hdr): static programs
// that are not position-independent. Bounded as in elf_headers.h. Any thread.
#pragma once

#include "core/stacks/elf_headers.h"

namespace mcr::stacks {

// As in a .eh_frame_hdr, both relative to the start of the section: where a function begins, where its entry is.
struct FrameIndexEntry {
  int32_t function = 0, entry = 0;
};

struct FrameIndex {
  uint64_t section = 0;  // its address, in the file's own numbering
  std::vector<FrameIndexEntry> entries;
};

// `read` takes offsets in the file. nullopt: there is no such section, or it cannot be made out.
std::optional<FrameIndex> index_frames(const ElfHeaders& headers, const ReadBytes& read);

}  // namespace mcr::stacks
