// The stacks of one process of an image, in this process: stacks_of_image() calls it in a child of ours, as the library
// that walks them is given what the image says.
#pragma once

#include "core/inspect/process_memory.h"
#include "core/stacks/stacks.h"

namespace mcr::stacks {

// Throws Fault::image for a damaged one. Main thread.
ProcessStacks stacks_in_image(const inspect::SavedTree& tree, const tree::ProcessImage& process, const Search& search);

}  // namespace mcr::stacks
