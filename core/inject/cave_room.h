// Where the way back (core/arch/cave.h) finds room in a program: asked before the freeze, and when it is needed.
#pragma once

#include <functional>
#include <vector>

#include "core/procfs/maps.h"
#include "core/trace/remote_memory.h"

namespace mcr::inject {

size_t cave_size();  // bytes of one; two are needed, one behind the other

enum class CaveContent {
  zeros,
  code,    // what a dump left that was killed: the same code
  foreign  // the program's, or not there
};
CaveContent look_at_cave(const trace::RemoteMemory& memory, RemoteAddr at);

// The first of two places that may both be used. Throws Error (refused) when there is none.
RemoteAddr find_caves(HostPid pid, const std::vector<procfs::Mapping>& mappings,
                      const std::function<bool(RemoteAddr)>& may_be_used);
// While the program runs: nobody is in there then, as far as can be seen.
void require_caves(HostPid pid, const std::vector<procfs::Mapping>& mappings);

}  // namespace mcr::inject
