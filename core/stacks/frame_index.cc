#include "core/stacks/frame_index.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace mcr::stacks {
namespace {

constexpr uint64_t kMostBytes = 64 << 20;
constexpr size_t kMostEncodings = 1 << 16;  // one an object file, or so

// Pointer encodings of the Linux Standard Base ("DWARF Exception Header Encoding").
constexpr uint8_t kAbsolute = 0x00, kUnsigned4 = 0x03, kUnsigned8 = 0x04, kSigned4 = 0x0b, kSigned8 = 0x0c;
constexpr uint8_t kFormMask = 0x0f, kRelativeToItself = 0x10, kApplicationMask = 0x70;

// Reads on behind the last byte, where there are zeros; `is_over` tells that it has.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, uint64_t at, uint64_t end)
      : bytes_(bytes), at_(at), end_(std::min<uint64_t>(end, bytes.size())) {}

  template <typename T>
  T take() {
    T value{};
    if (end_ - at_ < sizeof value || at_ > end_) {
      at_ = end_, is_over_ = true;
      return value;
    }
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  void skip_number() {  // LEB128
    while ((take<uint8_t>() & 0x80) != 0) {
    }
  }
  uint64_t take_pointer(uint8_t encoding) {
    switch (encoding & kFormMask) {
      case kUnsigned4:
        return take<uint32_t>();
      case kSigned4:
        return static_cast<uint64_t>(int64_t{take<int32_t>()});
      case kAbsolute:
      case kUnsigned8:
      case kSigned8:
        return take<uint64_t>();
      default:
        is_over_ = true;
        return 0;
    }
  }
  uint64_t at() const { return at_; }
  bool is_over() const { return is_over_; }

 private:
  std::span<const std::byte> bytes_;
  uint64_t at_, end_;
  bool is_over_ = false;
};

// How the entries that refer to this CIE encode addresses; nullopt: it cannot be made out.
std::optional<uint8_t> encoding_in(Cursor cursor) {
  constexpr size_t kLongest = 8;
  const auto version = cursor.take<uint8_t>();
  std::string augmentation;
  for (char c = cursor.take<char>(); c != '\0' && augmentation.size() < kLongest; c = cursor.take<char>())
    augmentation += c;
  if (augmentation.empty()) return kAbsolute;
  if (augmentation.front() != 'z' || (version != 1 && version != 3)) return std::nullopt;
  cursor.skip_number(), cursor.skip_number();  // alignment factors
  if (version == 1)
    cursor.take<uint8_t>();  // the register of the return address
  else
    cursor.skip_number();
  cursor.skip_number();  // length of what follows
  for (const char c : augmentation.substr(1)) {
    if (c == 'R') {
      const auto encoding = cursor.take<uint8_t>();
      return cursor.is_over() ? std::nullopt : std::optional(encoding);
    }
    if (c == 'P')
      cursor.take_pointer(cursor.take<uint8_t>());
    else if (c == 'L')
      cursor.take<uint8_t>();
  }
  return cursor.is_over() ? std::nullopt : std::optional(kAbsolute);
}

std::vector<FrameIndexEntry> index_bytes(std::span<const std::byte> bytes, uint64_t section) {
  std::vector<FrameIndexEntry> entries;
  std::map<uint64_t, std::optional<uint8_t>> encodings;  // by where the CIE is
  for (uint64_t at = 0; at + 8 <= bytes.size();) {
    Cursor cursor(bytes, at, bytes.size());
    const auto length = cursor.take<uint32_t>();
    if (length < sizeof(uint32_t) || length > bytes.size() - at - sizeof length) break;  // 0 ends it
    const uint64_t next = at + sizeof length + length, field = cursor.at();
    Cursor rest(bytes, field + sizeof(uint32_t), next);
    const auto back = cursor.take<uint32_t>();  // to the CIE; 0: this is one
    if (back == 0 && encodings.size() < kMostEncodings) {
      encodings[at] = encoding_in(rest);
    } else if (const auto found = encodings.find(field - back); found != encodings.end() && found->second) {
      const uint8_t encoding = *found->second;
      const uint64_t place = section + rest.at();
      uint64_t function = rest.take_pointer(encoding);
      if ((encoding & kApplicationMask) == kRelativeToItself) function += place;
      const auto distance = static_cast<int64_t>(function - section);
      if (!rest.is_over() && distance >= INT32_MIN && distance <= INT32_MAX)
        entries.push_back({static_cast<int32_t>(distance), static_cast<int32_t>(at)});
    }
    at = next;
  }
  std::ranges::stable_sort(entries, {}, &FrameIndexEntry::function);
  return entries;
}

}  // namespace

std::optional<FrameIndex> index_frames(const ElfHeaders& headers, const ReadBytes& read) {
  const auto sections = read_sections(headers, read);
  for (const Elf64_Shdr& section : sections) {
    if (!has_content(section) || section.sh_size > kMostBytes ||
        read_section_name(sections, headers, section, read) != ".eh_frame")
      continue;
    std::vector<std::byte> bytes(section.sh_size);
    if (!read(section.sh_offset, bytes)) return std::nullopt;
    return FrameIndex{section.sh_addr, index_bytes(bytes, section.sh_addr)};
  }
  return std::nullopt;
}

}  // namespace mcr::stacks
