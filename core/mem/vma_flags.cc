#include "core/mem/vma_flags.h"

#include <sys/mman.h>

#include <algorithm>

namespace mcr::mem {

bool has_vm_flag(const image::Vma& vma, std::string_view code) {
  return std::find(vma.vm_flags().begin(), vma.vm_flags().end(), code) != vma.vm_flags().end();
}

std::vector<int> advice_before_filling(const image::Vma& vma, bool in_whole_blocks) {
  std::vector<int> advice;
  if (in_whole_blocks && has_vm_flag(vma, "hg")) advice.push_back(MADV_HUGEPAGE);
  if (has_vm_flag(vma, "nh")) advice.push_back(MADV_NOHUGEPAGE);
  return advice;
}

std::vector<int> advice_after_filling(const image::Vma& vma, bool in_whole_blocks) {
  std::vector<int> advice;
  if (!in_whole_blocks && has_vm_flag(vma, "hg")) advice.push_back(MADV_HUGEPAGE);
  if (has_vm_flag(vma, "sr")) advice.push_back(MADV_SEQUENTIAL);
  if (has_vm_flag(vma, "rr")) advice.push_back(MADV_RANDOM);
  if (has_vm_flag(vma, "dc")) advice.push_back(MADV_DONTFORK);
  if (has_vm_flag(vma, "mg")) advice.push_back(MADV_MERGEABLE);
  if (has_vm_flag(vma, "dp")) return advice;  // MAP_DROPPABLE implies the other two
  if (has_vm_flag(vma, "wf")) advice.push_back(MADV_WIPEONFORK);
  if (has_vm_flag(vma, "dd")) advice.push_back(MADV_DONTDUMP);
  return advice;
}

}  // namespace mcr::mem
