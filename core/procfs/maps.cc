#include "core/procfs/maps.h"

#include <sys/mman.h>

#include <algorithm>

#include "core/procfs/scan.h"

namespace mcr::procfs {
namespace {

constexpr std::string_view kMaps = "maps";
constexpr std::string_view kSmaps = "smaps";

// show_map_vma() of fs/proc/task_mmu.c escapes the line feed and nothing else, not even the backslash: every other
// sequence that looks like an escape is part of the name. (A name that holds the four characters \012 cannot be told
// from one with a line feed; only /proc/PID/map_files can.)
std::string decode_path(std::string_view text) {
  constexpr std::string_view kLineFeed = "\\012";
  std::string path;
  for (size_t at; (at = text.find(kLineFeed)) != std::string_view::npos; text.remove_prefix(at + kLineFeed.size())) {
    path.append(text.substr(0, at));
    path += '\n';
  }
  return path.append(text);
}

void read_name(std::string_view text, Mapping& mapping) {
  constexpr std::string_view kDeleted = " (deleted)";
  mapping.deleted = text.ends_with(kDeleted);
  if (mapping.deleted) text.remove_suffix(kDeleted.size());
  mapping.path = decode_path(text);
}

int permission(Cursor& cursor, char letter, int bit) {
  const char c = cursor.character();
  if (c == letter) return bit;
  if (c != '-') cursor.fail();
  return 0;
}

// "7f43d99f1000-7f43d9a17000 r-xp 00026000 fe:00 332835      /usr/lib/libc.so.6"
void read_header(std::string_view file, std::string_view line, Mapping& mapping) {
  Cursor cursor(file, line);
  mapping.start = cursor.number<uint64_t>(16);
  mapping.end = cursor.expect("-").number<uint64_t>(16);
  if (mapping.end <= mapping.start) cursor.fail();
  cursor.expect(" ");
  mapping.prot = permission(cursor, 'r', PROT_READ);
  mapping.prot |= permission(cursor, 'w', PROT_WRITE);
  mapping.prot |= permission(cursor, 'x', PROT_EXEC);
  // 's' is VM_MAYSHARE: a shared mapping, even one whose file was opened for reading only.
  mapping.shared = cursor.accept("s");
  if (!mapping.shared) cursor.expect("p");
  mapping.offset = cursor.expect(" ").number<uint64_t>(16);
  mapping.device_major = cursor.expect(" ").number<uint32_t>(16);
  mapping.device_minor = cursor.expect(":").number<uint32_t>(16);
  mapping.inode = cursor.expect(" ").number<uint64_t>();
  if (cursor.at_end()) return;
  cursor.expect(" ").skip_blanks();
  read_name(cursor.rest(), mapping);
}

void read_vm_flags(std::string_view line, Mapping& mapping) {
  Cursor cursor(kSmaps, line);
  cursor.expect("VmFlags:");
  mapping.vm_flags.clear();
  mapping.vm_flags.reserve(cursor.rest().size() / 3);
  for (std::string_view code; !(code = cursor.word()).empty();) mapping.vm_flags.emplace_back(code);
}

void read_protection_key(std::string_view line, Mapping& mapping) {
  Cursor cursor(kSmaps, line);
  mapping.protection_key = cursor.expect("ProtectionKey:").skip_blanks().number<uint64_t>();
  cursor.finish();
}

uint64_t kilobytes(std::string_view line, std::string_view name) {
  Cursor cursor(kSmaps, line);
  const auto number = cursor.expect(name).skip_blanks().number<uint64_t>();
  cursor.expect(" kB").finish();
  return number;
}

// "KernelPageSize:        4 kB"
void read_kernel_page_size(std::string_view line, Mapping& mapping) {
  const uint64_t size = kilobytes(line, "KernelPageSize:");
  if (size == 0 || size > UINT64_MAX >> 10) Cursor(kSmaps, line).fail();
  mapping.kernel_page_bytes = size << 10;
}

// Most lines are of no interest, and there may be a million of them.
void read_value(std::string_view line, Mapping& mapping) {
  switch (line.front()) {
    case 'V':
      if (line.starts_with("VmFlags:")) read_vm_flags(line, mapping);
      break;
    case 'K':
      if (line.starts_with("KernelPageSize:")) read_kernel_page_size(line, mapping);
      break;
    case 'P':
      if (line.starts_with("ProtectionKey:")) read_protection_key(line, mapping);
      break;
    case 'A':
      if (line.starts_with("Anonymous:")) mapping.anonymous_kb = kilobytes(line, "Anonymous:");
      break;
    case 'L':
      if (line.starts_with("LazyFree:")) mapping.lazy_free_kb = kilobytes(line, "LazyFree:");
      break;
    default:
      break;
  }
}

}  // namespace

bool Mapping::has_flag(std::string_view code) const {
  // Asked for ten times a mapping, of which there may be many. Two letters each: no memcmp for those.
  const bool is_usual = code.size() == 2;
  return std::any_of(vm_flags.begin(), vm_flags.end(), [&](const std::string& flag) {
    if (!is_usual || flag.size() != 2) return flag == code;
    return flag[0] == code[0] && flag[1] == code[1];
  });
}

std::vector<Mapping> parse_maps(std::string_view text) {
  std::vector<Mapping> mappings;
  mappings.reserve(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1);
  std::string_view line;
  for (Lines lines(text); lines.next(line);) read_header(kMaps, line, mappings.emplace_back());
  return mappings;
}

namespace {

// After a header line come some twenty lines "Name: value"; all of them start with a capital letter, which no
// hexadecimal address does.
void read_smaps_line(std::string_view line, std::vector<Mapping>& mappings) {
  const char first = line.empty() ? '\0' : line.front();
  if (first < 'A' || first > 'Z') return read_header(kSmaps, line, mappings.emplace_back());
  if (mappings.empty()) throw_unreadable(kSmaps, line);
  read_value(line, mappings.back());
}

}  // namespace

std::vector<Mapping> parse_smaps(std::string_view text) {
  SmapsParser parser;
  parser.take(text);
  return parser.finish();
}

void SmapsParser::take(std::string_view piece) {
  if (!rest_.empty()) {
    const size_t end = piece.find('\n');
    rest_ += piece.substr(0, end);
    if (end == std::string_view::npos) return;
    read_smaps_line(rest_, mappings_);
    rest_.clear();
    piece.remove_prefix(end + 1);
  }
  const size_t whole = piece.rfind('\n') + 1;  // 0: there is none
  std::string_view line;
  for (Lines lines(piece.substr(0, whole)); lines.next(line);) read_smaps_line(line, mappings_);
  rest_ = piece.substr(whole);
}

std::vector<Mapping> SmapsParser::finish() {
  if (!rest_.empty()) read_smaps_line(rest_, mappings_);
  rest_.clear();
  return std::move(mappings_);
}

}  // namespace mcr::procfs
