// Pages that MADV_FREE gave up are given up again after they have been filled. The call passes over pages that still
// wait in a batch of another processor than the one it is made on (folio_mark_lazyfree() of mm/swap.c, 6.12), so the
// process stays on one processor from its first such page to the call.
#pragma once

#include <cstddef>
#include <vector>

#include "core/mem/address_space.h"

namespace mcr::mem {

// Does nothing for a process that has no such mapping. The destructor lets the process run where it could before. The
// restore thread only; `process` must outlive it.
class OneProcessor {
 public:
  OneProcessor(const inject::NewProcess& process, const RestoreMemory& memory);
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;
  ~OneProcessor();

 private:
  HostTid tid_;
  std::vector<std::byte> before_;  // empty: left alone
};

}  // namespace mcr::mem
