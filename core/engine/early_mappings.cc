#include "core/engine/early_mappings.h"

#include <algorithm>
#include <tuple>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/read_ahead.h"
#include "core/mem/address_space.h"
#include "core/mem/page_selection.h"
#include "core/mem/vma_flags.h"
#include "core/sys/file.h"

namespace mcr::engine {
namespace {

using image::Vma;
using procfs::Mapping;

auto shown_in_maps(const Mapping& m) {
  return std::tie(m.start, m.end, m.prot, m.shared, m.offset, m.device_major, m.device_minor, m.inode, m.path,
                  m.deleted);
}

[[noreturn]] void throw_changed(const Vma& vma) {
  throw Error(Fault::system,
              fmt::format("the mapping at {:#x} was changed in the very moment of the freeze", vma.start()),
              "dump again");
}

// Given once for all when a mapping is made: by these it was decided what it is.
bool has_same_nature(const Vma& vma, const Mapping& now) {
  return std::ranges::all_of(std::to_array<const char*>({"sh", "mr", "mw", "me", "ht", "io", "pf", "ss"}),
                             [&](const char* flag) { return mem::has_vm_flag(vma, flag) == now.has_flag(flag); });
}

void correct(Vma& vma, const Mapping& now, bool is_copied) {
  if (!has_same_nature(vma, now) || (is_copied && now.has_flag("wf"))) throw_changed(vma);
  if (!std::ranges::equal(vma.vm_flags(), now.vm_flags))
    log::debug("dump", "the mapping at {:#x} has other flags since it was looked at", vma.start());
  vma.clear_vm_flags();
  for (const std::string& flag : now.vm_flags) vma.add_vm_flags(flag);
  vma.set_protection_key(now.protection_key);
  vma.set_lazily_freed(mem::is_lazily_freed(vma, now));
}

}  // namespace

void EarlyMappings::read(HostPid pid, bool counts_calls) {
  Early early;
  if (counts_calls && !(early.calls = sys::MappingCallCounter::begin(pid))) return;
  try {
    early.mappings = read_smaps(pid);
    read_[pid] = std::move(early);
  } catch (const Error& error) {
    log::debug("dump", "{}", error.what());
  }
}

std::optional<std::vector<Mapping>> EarlyMappings::confirm(HostPid pid, const procfs::Status& status) const {
  const auto found = read_.find(pid);
  if (found == read_.end() || status.locked_kb != 0) return std::nullopt;
  const auto& [mappings, calls] = found->second;
  // A ring may be asked for an madvise(2) without a call. Whether pages are lazily freed changes as they are written.
  if (calls && (!calls->has_counted_none() ||
                std::ranges::any_of(mappings, [](const Mapping& m) { return mem::is_ring(m) || m.lazy_free_kb != 0; })))
    return std::nullopt;
  const auto now = procfs::parse_maps(sys::read_text(fmt::format("/proc/{}/maps", pid)));
  if (!std::ranges::equal(now, mappings,
                          [](const Mapping& a, const Mapping& b) { return shown_in_maps(a) == shown_in_maps(b); }))
    return std::nullopt;
  return mappings;
}

void correct_mappings(tree::ProcessImage& image, HostPid copy, const std::set<uint64_t>& copied) {
  const auto now = read_smaps(copy);
  auto at = now.begin();
  for (Vma& vma : image.vmas) {
    while (at != now.end() && at->end <= vma.start()) ++at;
    // The parasite's memory, which the copy has too, may have been joined to it.
    if (at != now.end() && at->start <= vma.start() && at->end >= vma.end())
      correct(vma, *at, copied.contains(vma.start()));
    else if (!mem::has_vm_flag(vma, "dc"))  // MADV_DONTFORK
      throw_changed(vma);
  }
}

}  // namespace mcr::engine
