#include "images/byte_text.h"

#include <fmt/format.h>

#include <iterator>

namespace mcr::images {
namespace {

unsigned byte_at(std::string_view bytes, size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

// What the first byte of a sequence allows as second one: there overlong forms, surrogates and what lies beyond
// U+10FFFF are told apart; and with it the control characters U+0080 to U+009F.
bool is_second_byte(unsigned first, unsigned second) {
  const unsigned lowest = first == 0xc2 || first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  return lowest <= second && second <= highest;
}

// Bytes of the printable character that begins there; 0 when there is none.
size_t printable_length(std::string_view rest) {
  const unsigned first = byte_at(rest, 0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length == 0 || length > rest.size() || !is_second_byte(first, byte_at(rest, 1))) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte_at(rest, i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

std::string escaped(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const size_t length = printable_length(bytes);
    if (length == 0)
      fmt::format_to(std::back_inserter(text), "\\x{:02x}", byte_at(bytes, 0));
    else if (bytes.front() == '\\')
      text += "\\\\";
    else
      text += bytes.substr(0, length);
    bytes.remove_prefix(length ? length : 1);
  }
  return text;
}

std::string hexadecimal(std::string_view bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size(); ++at) fmt::format_to(std::back_inserter(text), "{:02x}", byte_at(bytes, at));
  return text;
}

}  // namespace mcr::images
