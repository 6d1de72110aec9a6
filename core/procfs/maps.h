// /proc/PID/maps and /proc/PID/smaps (proc(5)) as structs. Pure functions of the text; throw Error (Fault::system)
// on a line they cannot read. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mcr::procfs {

struct Mapping {
  uint64_t start = 0, end = 0;  // bytes
  int prot = 0;                 // PROT_READ | PROT_WRITE | PROT_EXEC
  bool shared = false;
  uint64_t offset = 0;  // in the file, bytes
  uint32_t device_major = 0, device_minor = 0;
  uint64_t inode = 0;
  std::string path;      // as printed, the escape \012 (line feed) decoded, without a trailing " (deleted)"
  bool deleted = false;  // the line ended in " (deleted)"
  std::vector<std::string> vm_flags;  // from smaps only: two-letter codes
  uint64_t protection_key = 0;        // from smaps only
  uint64_t anonymous_kb = 0;          // from smaps only: pages that are no file's
  uint64_t lazy_free_kb = 0;          // from smaps only: those of MADV_FREE that were not written since
  uint64_t kernel_page_bytes = 4096;  // from smaps only; more with hugetlb
  uint64_t size() const { return end - start; }
  bool has_flag(std::string_view code) const;
};

std::vector<Mapping> parse_maps(std::string_view text);
std::vector<Mapping> parse_smaps(std::string_view text);

// The same of a text that comes in pieces, which may end anywhere.
class SmapsParser {
 public:
  void take(std::string_view piece);
  std::vector<Mapping> finish();

 private:
  std::vector<Mapping> mappings_;
  std::string rest_;  // the beginning of a line
};

}  // namespace mcr::procfs
