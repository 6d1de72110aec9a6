// The two-letter flags of smaps (proc(5)) and the madvise(2) that brings each back.
#pragma once

#include <string_view>
#include <vector>

#include "images/proto/mm.pb.h"

namespace mcr::mem {

bool has_vm_flag(const mcr::image::Vma& vma, std::string_view code);
// Advice that decides how pages are made (huge pages), and advice that only matters later (fork, dump, read-ahead).
std::vector<int> advice_before_filling(const mcr::image::Vma& vma);
std::vector<int> advice_after_filling(const mcr::image::Vma& vma);

}  // namespace mcr::mem
