// Takes an image from a dump on another host (images/far_sink.h) and makes it that of a folder. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/base/progress.h"

namespace mcr::images {

struct TakerReport {
  uint64_t files = 0, bytes = 0;
  bool was_heard = false;  // false: the sender may have left before he was told, and his program goes on too
};

// From the first who comes to the listener and is somebody who sends an image. check: of the whole image, before it is
// the folder's, by a path. Throws when it is not taken: the sender has been told why, and the folder is what it was.
TakerReport take_image(int listener, const std::string& directory, bool sync,
                       const std::function<void(const std::string& path)>& check, Progress* progress);

}  // namespace mcr::images
