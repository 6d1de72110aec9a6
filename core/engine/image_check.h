// What an image itself says, before any host is asked: all of it can be, and its parts fit together. Throws
// Fault::image at the first thing that does not. Any thread.
#pragma once

#include <vector>

#include "core/kinds/opened_files.h"
#include "core/tree/process_image.h"
#include "images/proto/inventory.pb.h"

namespace mcr::engine {

// Bytes of the image that no restore needs are checked too: a damaged copy is refused wherever the damage is. Only the
// pages themselves wait until they are read.
std::vector<tree::ProcessImage> read_processes(const images::ImageReader& reader);
void check_image(const mcr::image::Inventory& inventory, const std::vector<tree::ProcessImage>& processes,
                 const kinds::OpenedFiles& files);

// All of that for a whole image: what a restore would refuse on any host.
void verify_records(const images::ImagePlace& place);

}  // namespace mcr::engine
