// Mappings that touch and differ in nothing, yet are two: what keeps them apart in the kernel is not in any file of
// /proc. The kernel joins neighbours only when one of them is made or changed, and never when
//   - they map two open files, be it of the same file (vm_file of struct vm_area_struct), or
//   - both were written to while they differed, so that each has an anon_vma of its own (mm/vma.c,
//     is_mergeable_anon_vma(); mm/rmap.c, find_mergeable_anon_vma()).
// A restore uses the first for files and the second for anonymous memory: every other one of such a row is made with
// MADV_DONTFORK, all are touched, then that advice is taken back.
#pragma once

#include <vector>

#include "images/proto/mm.pb.h"

namespace mcr::mem {

struct Separation {
  bool needed = false;  // it would be joined with a neighbour
  bool odd = false;     // it is the one of the two that is made differently
};

// Whether the kernel would join the second to the first, as far as /proc tells.
bool would_join(const mcr::image::Vma& a, const mcr::image::Vma& b);

// One a mapping, in their order.
std::vector<Separation> find_separations(const std::vector<mcr::image::Vma>& vmas);

}  // namespace mcr::mem
