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

// Whether smaps marks mappings that may have guard pages ("gu"). Tried at the first call.
bool shows_guard_flag();

class Pagemap {
 public:
  explicit Pagemap(HostPid pid);
  // Ranges of [start, end) with private content: present or swapped, not of the page cache, not the zero page.
  // Appended in address order, neighbours merged. `guards` gets the guard pages of MADV_GUARD_INSTALL (6.13), which
  // kernels before 6.15 do not tell from swapped ones: there they are in `out`, and cannot be read.
  void private_pages(uint64_t start, uint64_t end, std::vector<PageRange>& out, std::vector<PageRange>& guards) const;
  // The same of anonymous mappings that a write watch has: of what was written, or came, since it was protected. The
  // kernel looks at nothing but the page tables: a fifth of the time. False: it cannot tell (before 6.7).
  bool written_pages(uint64_t start, uint64_t end, std::vector<PageRange>& out, std::vector<PageRange>& guards) const;
  // The guard pages alone, of any mapping.
  void guard_pages(uint64_t start, uint64_t end, std::vector<PageRange>& guards) const;
  // Of mappings that a write watch has (write_watch.h): the pages that were protected and not written since, which is
  // appended in address order. False: the kernel cannot tell (before 6.7).
  bool unwritten_pages(uint64_t start, uint64_t end, std::vector<PageRange>& clean) const;
  // Protects pages with content of watched mappings anew; other mappings are passed over. False: it cannot be done.
  bool try_protect(uint64_t start, uint64_t end) const;
  // The words of [start, end), one a page; fewer where the address space ends.
  std::vector<uint64_t> words(uint64_t start, uint64_t end) const;
  uint64_t scanned() const { return scanned_; }  // pages looked at

 private:
  struct Request {  // categories of linux/fs.h
    uint64_t without = 0, any = 0, told = 0, all = 0;
  };
  bool scan(uint64_t start, uint64_t end, Request request, std::vector<PageRange>& out,
            std::vector<PageRange>& guards) const;
  void read_words(uint64_t start, uint64_t end, std::vector<PageRange>& out, std::vector<PageRange>& guards) const;

  UniqueFd fd_;
  mutable bool has_scan_ = true, has_guards_ = true;
  mutable uint64_t scanned_ = 0;
};

}  // namespace mcr::sys
