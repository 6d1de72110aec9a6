// Puts pages into a new process by userfaultfd(2): a page is made with its content. Any other way makes it of zeros
// first, by a fault of its own, and overwrites it, which takes a third longer. For as long as this lives nobody may
// touch the pages of these mappings that are not there yet.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/mem/address_space.h"

namespace mcr::mem {

class PlacedPages {
 public:
  // Chooses the mappings of the process that are large enough, and have no neighbour that they might have to be joined
  // with; none where huge pages are to come by themselves, or the kernel (before 5.11) does not let us.
  PlacedPages(inject::NewProcess& process, const RestoreMemory& memory);
  // Whether all of the run is to come so.
  bool covers(const mcr::image::PageRun& run) const;
  // Whole pages of such a run. Any thread. Throws Fault::system.
  void put(uint64_t address, std::span<const std::byte> content) const;

 private:
  void watch(inject::NewProcess& process, const std::vector<AddressRange>& wanted);

  HostPid pid_;
  UniqueFd file_;
  std::vector<AddressRange> mappings_;  // in address order
};

}  // namespace mcr::mem
