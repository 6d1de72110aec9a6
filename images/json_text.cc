#include "images/json_text.h"

#include <fmt/format.h>

namespace mcr::images {
namespace {

// Bytes of the UTF-8 sequence that begins there; 0 when there is none. Overlong forms and surrogates pass: they are
// harmless in output.
size_t sequence_length(std::string_view rest) {
  const auto first = static_cast<unsigned char>(rest.front());
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length > rest.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(rest[i]) & 0xc0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    const char c = text.front();
    if (length == 0)
      out += "\uFFFD";
    else if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += text.substr(0, length);
    text.remove_prefix(length ? length : 1);
  }
  return out + "\"";
}

}  // namespace mcr::images
