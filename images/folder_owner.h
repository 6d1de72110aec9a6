// Who could put another image into an image folder. Private to images.
#pragma once

#include <string>

namespace mcr::images {

// Warns in the log when the folder belongs to somebody who is neither our user nor root, or when everybody may write to
// it without being held back by the sticky bit.
void warn_of_others(int folder, const std::string& name);

}  // namespace mcr::images
