#include "core/inject/cave_room.h"

#include <sys/mman.h>

#include <algorithm>

#include "core/arch/cave.h"
#include "core/base/error.h"

namespace mcr::inject {

size_t cave_size() {
  return (arch::cave_entries().size + 15) / 16 * 16;
}

CaveContent look_at_cave(const trace::RemoteMemory& memory, RemoteAddr at) {
  std::vector<std::byte> now(cave_size());
  if (!memory.try_read(at, now)) return CaveContent::foreign;
  if (std::ranges::all_of(now, [](std::byte b) { return b == std::byte{0}; })) return CaveContent::zeros;
  const auto code = arch::cave_code();
  return std::equal(code.begin(), code.end(), now.begin()) ? CaveContent::code : CaveContent::foreign;
}

// Two caves: one for the thread that hosts the parasite, one for the threads probed meanwhile. The vdso is mapped from
// the kernel's own image and ends in zeros; the last page of a file's text usually does too.
RemoteAddr find_caves(HostPid pid, const std::vector<procfs::Mapping>& mappings,
                      const std::function<bool(RemoteAddr)>& may_be_used) {
  const size_t needed = 2 * cave_size();
  RemoteAddr place;
  const auto consider = [&](const procfs::Mapping& m) {
    if (m.size() < needed + 32) return false;
    place = RemoteAddr((m.end - needed) / 16 * 16);
    return may_be_used(place) && may_be_used(place + cave_size());
  };
  const auto executable = [](const procfs::Mapping& m) {
    return (m.prot & PROT_EXEC) && (m.prot & PROT_READ) && !m.shared;
  };
  for (const auto& m : mappings)
    if (m.path == "[vdso]" && consider(m)) return place;
  for (const auto& m : mappings)
    if (executable(m) && !m.path.empty() && m.path.front() == '/' && consider(m)) return place;
  throw Error(Fault::refused, fmt::format("process {} has no room for {} bytes of code", pid, needed),
              "it has neither a vdso nor an executable mapping that ends in zeros");
}

void require_caves(HostPid pid, const std::vector<procfs::Mapping>& mappings) {
  const trace::RemoteMemory memory(pid);
  find_caves(pid, mappings, [&](RemoteAddr at) { return look_at_cave(memory, at) != CaveContent::foreign; });
}

}  // namespace mcr::inject
