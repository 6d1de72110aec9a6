#include "core/stacks/stacks.h"

#include <sys/mman.h>

#include <map>
#include <tuple>

#include "core/procfs/maps.h"
#include "core/stacks/debug_folders.h"
#include "core/stacks/naming.h"
#include "core/stacks/stopped_tree.h"
#include "core/stacks/told.h"
#include "core/stacks/unwind_library.h"
#include "core/sys/file.h"
#include "core/sys/regular_file.h"
#include "core/trace/frozen_tree.h"

namespace mcr::stacks {
namespace {

std::vector<Region> regions_of(HostPid view) {
  std::vector<Region> regions;
  const auto text = sys::try_read_text(fmt::format("/proc/{}/maps", view));
  if (!text) return regions;
  std::map<std::tuple<uint32_t, uint32_t, uint64_t>, uint64_t> files;
  for (procfs::Mapping& mapping : procfs::parse_maps(*text)) {
    Region region{mapping.start, mapping.end, (mapping.prot & PROT_EXEC) != 0, mapping.offset, {}, 0, {}};
    const bool is_vdso = mapping.path == "[vdso]";
    if (mapping.inode != 0 || is_vdso) {
      const std::tuple key(mapping.device_major, mapping.device_minor, mapping.inode);
      region.file_id = files.emplace(key, files.size() + 1).first->second;
      region.file = std::move(mapping.path);
      region.inode = mapping.inode;
    }
    regions.push_back(std::move(region));
  }
  return regions;
}

// The very file, whatever its name leads to now; that needs CAP_CHECKPOINT_RESTORE. Else what has its name: whether it
// is the same is told by the build-id, or by the inode where it has none.
OpenFile opener_for(HostPid view) {
  return [view](const Region& region, std::string& why) {
    if (region.file == "[vdso]") return UniqueFd();
    if (auto file = sys::open_regular(fmt::format("/proc/{}/map_files/{:x}-{:x}", view, region.start, region.end)))
      return std::move(*file);
    auto named = sys::open_regular(fmt::format("/proc/{}/root{}", view, region.file));
    if (named && (!build_id_of(named->get()).empty() || sys::stat_fd(named->get()).st_ino == region.inode))
      return std::move(*named);
    why = "the file cannot be opened, only the names that it exports are known";
    return UniqueFd();
  };
}

std::string name_of(HostPid view, HostTid tid) {
  std::string name = sys::try_read_text(fmt::format("/proc/{}/task/{}/comm", view, tid)).value_or("");
  if (name.ends_with('\n')) name.pop_back();
  return name;
}

std::map<HostPid, PythonInterpreter> find_pythons(HostPid root) {
  std::map<HostPid, PythonInterpreter> pythons;
  for (const HostPid pid : trace::tree_of(root)) {
    Memory memory({}, {living_memory(pid)});
    Modules modules(regions_of(pid), memory, opener_for(pid), {});
    if (const auto python = find_python(modules, memory)) pythons.emplace(pid, *python);
  }
  return pythons;
}

}  // namespace

ProcessStacks stacks_of_stopped(StoppedProcess& process, const Search& search) {
  ProcessStacks stacks;
  stacks.pid = process.pid.get(), stacks.ended = process.ended;
  stacks.name = name_of(process.view, HostTid(process.view.get()));
  if (process.ended) return stacks;
  Memory memory(std::move(process.copies), {living_memory(process.view)});
  Modules modules(regions_of(process.view), memory, opener_for(process.view), search.debug_folders);
  Walker walker(modules, memory);
  std::vector<Walked> walks;
  for (const StoppedThread& thread : process.threads) {
    ThreadStack stack;
    stack.tid = thread.tid.get(), stack.name = name_of(process.view, thread.tid);
    stack.state = state_of(thread.registers, thread.by_job_control);
    stacks.threads.push_back(std::move(stack));
    walks.push_back(walker.walk(thread.registers));
  }
  name_frames(modules, walks, stacks.threads);
  for (ThreadStack& thread : stacks.threads) {
    const auto number = static_cast<uint64_t>(trace::number_inside(HostTid(thread.tid)));
    if (const auto found = process.python.find(number); found != process.python.end())
      thread.python = name_python(found->second, memory);
  }
  stacks.missing = modules.troubles();
  return stacks;
}

TreeStacks stacks_of_running(HostPid root, std::chrono::milliseconds timeout, const Search& search, const Tell& tell,
                             Damage& damage) {
  unwind_library();  // nothing is stopped where it is missing
  trace::refuse_unfreezable(root);
  const auto pythons = find_pythons(root);
  sys::Deadline deadline;
  if (timeout.count() != 0) deadline = sys::Clock::now() + timeout;
  StoppedTree stopped = copy_stacks(root, pythons, deadline, damage);
  TreeStacks tree;
  tree.pause_us = stopped.pause_us;
  for (StoppedProcess& process : stopped.processes)
    tree.processes.push_back(told_stacks(process.pid.get(), name_of(process.view, HostTid(process.view.get())), tell,
                                         [&] { return stacks_of_stopped(process, search); }));
  return tree;
}

}  // namespace mcr::stacks
