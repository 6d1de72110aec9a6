// The seal of an image folder: a file that says, by a key, which files the image has and what is in them. It proves
// that whoever has the key has sealed exactly these; it hides nothing of them. docs/images.md, docs/image-format.md.
#pragma once

#include <optional>
#include <string>

#include "images/seal_key.h"

namespace mcr::images {

struct SealReport {
  uint64_t images = 0, files = 0, bytes = 0;
};

// Of the image in `directory` and of all that it builds upon. An image that has a seal already: that one must hold.
SealReport seal(const std::string& directory, const SealKey& key);

// Reads every byte of all of them. Throws Fault::image, a ProblemList that names every file that is not as it was
// sealed; Fault::refused: it is not sealed, or with another key.
SealReport check_seal(const std::string& directory, const SealKey& key);

// Of this image only: what it builds upon stays sealed. The seal must hold.
void unseal(const std::string& directory, const SealKey& key);

// The id of the key, as the seal says, or "unreadable"; nullopt: there is no seal, or no such folder.
std::optional<std::string> sealed_with(const std::string& directory);

}  // namespace mcr::images
