#include "core/base/bounds.h"

namespace mcr::bounds {

bool is_kernel_path(std::string_view path) {
  if (path.empty() || path.size() > kMaxPath || path.front() != '/') return false;
  if (path.find('\0') != std::string_view::npos) return false;
  if (path == "/") return true;
  for (std::string_view rest = path.substr(1);;) {
    const size_t end = rest.find('/');
    const std::string_view component = rest.substr(0, end);
    if (component.empty() || component == "." || component == ".." || component.size() > kMaxName) return false;
    if (end == std::string_view::npos) return true;
    rest.remove_prefix(end + 1);
  }
}

}  // namespace mcr::bounds
