// An image as one tar file, with what it builds upon, and back. docs/images.md is for users, docs/image-format.md has
// the layout. Errors: Fault::image names the tar file's offset or the file in it.
#pragma once

#include <functional>
#include <string>

#include "images/archive.h"

namespace mcr::images {

struct CarryReport {
  uint64_t images = 0, files = 0, bytes = 0;  // bytes: of the files
};

// The same image gives the same bytes. Throws what `write` throws.
CarryReport export_image(const std::string& directory, const WriteBytes& write);

// The folder appears whole or not at all; it must not exist yet, or be empty. `check` is called with a folder in which
// everything lies already, before it becomes `directory`: what it throws ends the import without a trace.
CarryReport import_image(const ReadBytes& read, const std::string& directory, bool sync,
                         const std::function<void(const std::string&)>& check);

}  // namespace mcr::images
