// Fuzz target of what reads an exported image and a seal: the tar file (first byte 0: the bytes as they are, 1: with
// the checksum of every header put right) and the list of files in it (2). What is read must be refused with an Error
// that says so, or be consistent.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include "core/base/error.h"
#include "images/file_list.h"
#include "images/tar.h"

namespace {

using namespace mcr::images;

void require(bool holds) {
  if (!holds) std::abort();
}

void read_tar(const std::string& bytes) {
  size_t at = 0, pieces = 0;
  TarReader tar([&](void* data, size_t size) {
    const size_t n = std::min(size, bytes.size() - at);
    std::memcpy(data, bytes.data() + at, n);
    at += n;
    return n;
  });
  while (const auto entry = tar.next()) {
    require(!entry->name.empty() && entry->name.find('\0') == std::string::npos);
    uint64_t had = 0;
    for (auto piece = tar.data(); !piece.empty(); piece = tar.data()) {
      had += piece.size();
      require(had <= bytes.size() && ++pieces <= bytes.size());  // nothing is made of nothing
    }
    require(had == entry->size);
  }
}

// ustar: the sum of the header's bytes, its own field taken as blanks.
std::string with_right_checksums(std::string bytes) {
  constexpr size_t kBlock = 512, kField = 148, kDigits = 8;
  for (size_t at = 0; at + kBlock <= bytes.size(); at += kBlock) {
    if (bytes.compare(at + 257, 5, "ustar") != 0) continue;
    bytes.replace(at + kField, kDigits, kDigits, ' ');
    unsigned sum = 0;
    for (size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(bytes[at + i]);
    char text[kDigits + 1];
    std::snprintf(text, sizeof text, "%06o", sum);
    bytes.replace(at + kField, 7, text, 7);
  }
  return bytes;
}

void read_list(const std::string& bytes) {
  constexpr char kTitle[] = "mini-criu export 1";
  const FileList list = parse_file_list(bytes, kTitle, "list");
  std::set<std::string> names;
  uint64_t total = 0;
  for (const ListedFile& file : list.files) {
    ListedName name;
    require(parse_listed_name(file.name, name) && names.insert(file.name).second);
    require(file.name.find("..") == std::string::npos || name.file.front() != '.');
    require(file.digest.size() == kDigestBytes && file.size <= UINT64_MAX - total);
    total += file.size;
  }
  // But for its last line it can be written in one way only.
  const std::string again = text_of(list);
  require(again.substr(0, again.rfind("end ")) == bytes.substr(0, bytes.rfind("end ")));
  require(has_right_end(bytes) == (again == bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] % 3 == 2)
      read_list(bytes);
    else
      read_tar(data[0] % 3 == 0 ? bytes : with_right_checksums(bytes));
  } catch (const mcr::Error& error) {
    require(error.fault() == mcr::Fault::image);
  }
  return 0;
}
