// Which pages of a new process are left out when it is filled, to come when it first touches them, or later.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "core/mem/address_space.h"

namespace mcr::mem {

struct LatePiece {  // a run, or the part of one behind the page that comes at once
  uint64_t start, bytes;
  uint64_t run;  // index in the image
};

// By mapping: those that can wait. Private anonymous memory of ordinary pages, neither locked nor shared with a
// relative nor wiped for children, that does not grow by itself.
std::vector<bool> late_mappings(const RestoreMemory& memory);
// Their pages, in address order, without `at_once` and without the first of each mapping: with that one the mapping has
// what makes the kernel join it with its neighbours again, when nobody waits for its pages any more (anon_vma).
std::vector<LatePiece> late_pieces(const RestoreMemory& memory, const std::set<uint64_t>& at_once);
// Puts those that are left out there. Returns their number.
uint64_t fill_first_pages(inject::NewProcess& process, const RestoreMemory& memory, const std::set<uint64_t>& at_once);

// While it lives the kernel makes no huge pages in that process: one that comes for the first page of a mapping, or
// that khugepaged makes of it, would stand for 511 others that are still missing.
class SmallPagesOnly {
 public:
  explicit SmallPagesOnly(inject::NewProcess& process);
  void end();

 private:
  inject::NewProcess& process_;
  uint64_t old_ = 0;
};

}  // namespace mcr::mem
