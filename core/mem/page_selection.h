// Which pages of a process have content of their own, that an image must have. Any thread; the program stands still, or
// is a copy.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "core/mem/page_source.h"
#include "core/sys/pagemap.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

// The stretches to be stored of private mappings: what PAGEMAP says has content of its own. Guard pages are noted in
// the mappings. `wanted`: only of those mappings; none: of all. `left_out`: stretches of private mappings, in address
// order, that are not looked at.
using Wanted = std::function<bool(const mcr::image::Vma&)>;
std::vector<PageSource> select_pages(const sys::Pagemap& pagemap, std::vector<mcr::image::Vma>& vmas,
                                     const Wanted& wanted = {}, const std::vector<sys::PageRange>& left_out = {});
// Both in address order.
void note_guards(std::vector<mcr::image::Vma>& vmas, const std::vector<sys::PageRange>& guards);
// Whether fork(2) copies its pages, page by page when they are written to.
bool is_copied_on_write(const mcr::image::Vma& vma);
// Cuts ranges, which may reach over several mappings, at the borders of the mappings. Both in address order.
void cut_at_mappings(std::span<const mcr::image::Vma> vmas, const std::vector<sys::PageRange>& ranges,
                     std::vector<PageSource>& out);

}  // namespace mcr::mem
