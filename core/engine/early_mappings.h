// /proc/PID/smaps walks over all pages of a program, 20 ms a GiB, which are not to be a part of a short pause. So it is
// read before the freeze. Frozen, maps must say the same, which costs next to nothing. What maps does not show (flags
// of madvise(2), protection keys): with --live it is read of the copy of the memory afterwards, and put right; of a
// dump that builds upon another the calls that can change it are counted meanwhile, and there must have been none;
// ahead of a dump nothing of it is stored.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "core/base/ids.h"
#include "core/procfs/maps.h"
#include "core/procfs/status.h"
#include "core/sys/call_counter.h"
#include "core/tree/process_image.h"

namespace mcr::engine {

class EarlyMappings {
 public:
  // Before the freeze; what cannot be read, or of which the calls cannot be counted, is read later.
  void read(HostPid pid, bool counts_calls);
  // Frozen: what was read of this process, if its mappings are still the same, and none is locked: locks are not
  // copied. Any thread.
  std::optional<std::vector<procfs::Mapping>> confirm(HostPid pid, const procfs::Status& status) const;

 private:
  struct Early {
    std::vector<procfs::Mapping> mappings;
    std::optional<sys::MappingCallCounter> calls;
  };
  std::map<HostPid, Early> read_;
};

// Once the tree runs: what the mappings of its copy say is what they were in the instant of the copy. `copied`: the
// starts of those whose pages are in the copy only. Throws when they are not, and when a mapping is not what it was
// taken for.
void correct_mappings(tree::ProcessImage& image, HostPid copy, const std::set<uint64_t>& copied);

}  // namespace mcr::engine
