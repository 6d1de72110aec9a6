// Which pages of another process hold content of their own: PAGEMAP_SCAN where the kernel has it (6.7), else the
// words of /proc/PID/pagemap. Any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"

namespace mcr::sys {

struct PageRange {
  uint64_t start = 0, end = 0;  // addresses
};

class Pagemap {
 public:
  explicit Pagemap(HostPid pid);
  // Ranges of [start, end) with private content: present or swapped, not of the page cache, not the zero page.
  // Appended in address order, neighbours merged.
  void private_pages(uint64_t start, uint64_t end, std::vector<PageRange>& out) const;
  uint64_t scanned() const { return scanned_; }  // pages looked at

 private:
  bool scan(uint64_t start, uint64_t end, std::vector<PageRange>& out) const;
  void read_words(uint64_t start, uint64_t end, std::vector<PageRange>& out) const;

  UniqueFd fd_;
  mutable bool has_scan_ = true;
  mutable uint64_t scanned_ = 0;
};

}  // namespace mcr::sys
