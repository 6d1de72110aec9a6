#include "core/stacks/frame_text.h"

#include <fmt/format.h>

#include "images/byte_text.h"

namespace mcr::stacks {

using images::escaped;

std::string function_text(const Frame& frame) {
  if (frame.is_signal) return "<signal handler called>";
  if (!frame.function.empty()) return fmt::format("{}+{:#x}", escaped(frame.function), frame.offset);
  return frame.module.empty() ? "?" : fmt::format("?+{:#x}", frame.module_offset);
}

std::string module_text(const Frame& frame) {
  if (frame.module.empty()) return {};
  const size_t slash = frame.module.rfind('/');
  return fmt::format(" ({})", escaped(slash == std::string::npos ? frame.module : frame.module.substr(slash + 1)));
}

std::string python_text(const PythonFrame& frame) {
  return fmt::format("{} ({}:{})", escaped(frame.function), escaped(frame.file),
                     frame.line == 0 ? "?" : std::to_string(frame.line));
}

}  // namespace mcr::stacks
