// The one way for a facet to say that a value of its message cannot be.
#pragma once

#include "core/base/bounds.h"
#include "core/base/error.h"

namespace mcr::facets {

// `field`: as in facets.proto. Throws Fault::image.
template <typename Value>
void require_value(bool holds, const char* field, const Value& value) {
  if (!holds)
    throw Error(Fault::image, fmt::format("{} cannot be {}", field, value),
                "the image is damaged or was made by a faulty program");
}

}  // namespace mcr::facets
