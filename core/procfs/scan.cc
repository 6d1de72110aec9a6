#include "core/procfs/scan.h"

#include <fmt/format.h>

#include "core/base/error.h"

namespace mcr::procfs {
namespace {

std::string quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string result = "\"";
  for (const char c : text.substr(0, kShown)) {
    if (c >= ' ' && c <= '~' && c != '"' && c != '\\')
      result += c;
    else
      result += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
  }
  return result + (text.size() > kShown ? "\"..." : "\"");
}

}  // namespace

void throw_unreadable(std::string_view file, std::string_view text, std::source_location where) {
  throw Error(Fault::system, fmt::format("/proc {}: cannot read the line {}", file, quoted(text)), {}, 0, where);
}

void throw_missing(std::string_view file, std::string_view line, std::source_location where) {
  throw Error(Fault::system, fmt::format("/proc {}: there is no line \"{}\"", file, line), {}, 0, where);
}

}  // namespace mcr::procfs
