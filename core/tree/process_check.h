// Are the numbers of a process such that a kernel could have had them? Before anything is created.
#pragma once

#include "core/tree/process_image.h"

namespace mcr::tree {

// Throws Fault::image with file and field. What facets hold is checked by them.
void check_process(const ProcessImage& process, const images::ImageReader& reader);

}  // namespace mcr::tree
