// An image and all that it builds upon as one image that needs none of them.
#pragma once

#include <cstdint>
#include <string>

namespace mcr::images {

struct MergeReport {
  uint64_t images = 0;    // that went into it
  uint64_t bytes = 0;     // of the new image
  uint64_t repeated = 0;  // bytes of memory that are not stored, as another page has the same content
};

// `to`: the folder of the new image, none of the chain's. Everything that is read is checked; errors as in store.h.
MergeReport merge(const std::string& directory, const std::string& to, bool sync);

}  // namespace mcr::images
