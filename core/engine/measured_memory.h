// How much of the memory of a running tree a dump would store, as far as its page tables tell. Nothing is read of it.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/engine/forecast.h"
#include "core/kinds/kind.h"
#include "core/procfs/maps.h"

namespace mcr::engine {

class MeasuredMemory {
 public:
  // Of one process; returns its own bytes. What processes share is counted with the first.
  uint64_t add(HostPid view, const std::vector<procfs::Mapping>& mappings);
  void add_file(const kinds::FileView& file);  // open; counts when it has no name
  void finish(Amounts& amounts);

 private:
  using Inode = std::pair<dev_t, ino_t>;
  void add_shared(HostPid view, const procfs::Mapping& mapping);

  std::set<Inode> seen_;
  std::vector<uint64_t> frames_;  // of private pages, where the kernel shows them (CAP_SYS_ADMIN)
  uint64_t private_bytes_ = 0, unknown_bytes_ = 0, shared_bytes_ = 0, file_bytes_ = 0;
  size_t processes_ = 0;
};

}  // namespace mcr::engine
