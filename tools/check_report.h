// What `check -t` and `check -D` print: for people, and as JSON.
#pragma once

#include <string>

#include "core/engine/doctor.h"
#include "tools/colours.h"

namespace mcr::cli {

std::string tree_text(const engine::TreeReport& report, const Colours& colours);
std::string tree_json(const engine::TreeReport& report);
std::string image_text(const engine::ImageReport& report, const std::string& images_dir, const Colours& colours);
std::string image_json(const engine::ImageReport& report, const std::string& images_dir);

}  // namespace mcr::cli
