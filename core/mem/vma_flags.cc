#include "core/mem/vma_flags.h"

#include <sys/mman.h>

#include <array>
#include <string>
#include <utility>

namespace mcr::mem {

bool has_vm_flag(const image::Vma& vma, std::string_view code) {
  // They are of two letters, and asked for often.
  if (code.size() != 2) return false;
  for (const std::string& flag : vma.vm_flags())
    if (flag.size() == 2 && flag[0] == code[0] && flag[1] == code[1]) return true;
  return false;
}

std::vector<int> advice_before_filling(const image::Vma& vma, bool in_whole_blocks) {
  std::vector<int> advice;
  if (in_whole_blocks && has_vm_flag(vma, "hg")) advice.push_back(MADV_HUGEPAGE);
  if (has_vm_flag(vma, "nh")) advice.push_back(MADV_NOHUGEPAGE);
  return advice;
}

std::vector<int> advice_after_filling(const image::Vma& vma, bool in_whole_blocks) {
  constexpr auto kAfter = std::to_array<std::pair<std::string_view, int>>({{"hg", MADV_HUGEPAGE},
                                                                           {"sr", MADV_SEQUENTIAL},
                                                                           {"rr", MADV_RANDOM},
                                                                           {"dc", MADV_DONTFORK},
                                                                           {"mg", MADV_MERGEABLE},
                                                                           {"wf", MADV_WIPEONFORK},
                                                                           {"dd", MADV_DONTDUMP}});
  std::array<bool, kAfter.size()> wanted{};
  bool is_droppable = false;  // MAP_DROPPABLE implies the last two
  for (const std::string& flag : vma.vm_flags()) {
    is_droppable = is_droppable || flag == "dp";
    for (size_t i = 0; i < kAfter.size(); ++i) wanted[i] = wanted[i] || flag == kAfter[i].first;
  }
  std::vector<int> advice;
  for (size_t i = in_whole_blocks ? 1 : 0; i < (is_droppable ? 5 : kAfter.size()); ++i)
    if (wanted[i]) advice.push_back(kAfter[i].second);
  return advice;
}

}  // namespace mcr::mem
