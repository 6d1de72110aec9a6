// Which file is mapped at an address, in the numbers of /proc/PID/maps. Those are not always the ones of stat(2): file
// systems in layers (overlayfs, btrfs) show other devices there, so that mappings are compared with mappings only.
#pragma once

#include <cstdint>
#include <optional>

#include "core/base/ids.h"

namespace mcr::sys {

struct MappedFile {
  uint32_t device_major = 0, device_minor = 0;
  uint64_t inode = 0;
  bool operator==(const MappedFile&) const = default;
};

// nullopt: nothing is mapped there, or the kernel cannot be asked so (PROCMAP_QUERY, 6.11).
std::optional<MappedFile> file_mapped_at(HostPid pid, uint64_t address);

// A page of the file mapped into this process for as long as it takes to look: what file_mapped_at() would say of it.
// nullopt when the file cannot be mapped.
std::optional<MappedFile> mapped_as(int fd);

}  // namespace mcr::sys
