// Pages that a process has from its parent, as an image says it.
#pragma once

#include <span>

#include "core/tree/process_image.h"

namespace mcr::tree {

// Its parent in the tree when that has memory of its own, null otherwise.
const ProcessImage* lender_of(const ProcessImage& process, std::span<const ProcessImage> all);
// `before`: the processes that come before it. Throws Fault::image when they lie outside of its own private memory,
// overlap what is stored with it, or are not there in its parent.
void check_inherited(const ProcessImage& process, std::span<const ProcessImage> before);

}  // namespace mcr::tree
