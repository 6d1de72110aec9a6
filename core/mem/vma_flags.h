// The two-letter flags of smaps (proc(5)) and the madvise(2) that brings each back.
#pragma once

#include <string_view>
#include <vector>

#include "images/proto/mm.pb.h"

namespace mcr::mem {

bool has_vm_flag(const mcr::image::Vma& vma, std::string_view code);
// Advice that decides how pages are made (huge pages), and advice that only matters later (fork, dump, read-ahead).
// `in_whole_blocks`: what there is to be filled are whole huge pages; the advice to use them before would else bring
// pages into being that the program did not have.
std::vector<int> advice_before_filling(const mcr::image::Vma& vma, bool in_whole_blocks);
std::vector<int> advice_after_filling(const mcr::image::Vma& vma, bool in_whole_blocks);

}  // namespace mcr::mem
