#include "core/stacks/image_stacks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>

#include "core/base/error.h"
#include "core/stacks/debug_folders.h"
#include "core/stacks/naming.h"
#include "core/stacks/python_frames.h"
#include "core/stacks/told.h"
#include "core/sys/file.h"
#include "core/sys/regular_file.h"
#include "images/proto/files.pb.h"

namespace mcr::stacks {
namespace {

using image::Vma;

constexpr char kArchitecture[] = "x86_64";

bool is_file(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_FILE || vma.kind() == Vma::SHARED_FILE;
}

std::optional<image::RegularFile> regular_file_of(const inspect::SavedTree& tree, const Vma& vma) {
  image::RegularFile file;
  if (!is_file(vma) || !tree.files().object(vma.file()).body().UnpackTo(&file)) return std::nullopt;
  return file;
}

std::vector<Region> regions_of(const inspect::SavedTree& tree, const inspect::ProcessMemory& memory) {
  std::vector<Region> regions;
  for (const Vma& vma : memory.mappings()) {
    Region region{vma.start(), vma.end(), (vma.prot() & PROT_EXEC) != 0, vma.offset(), {}, 0, {}};
    if (vma.kind() == Vma::VDSO) {
      region.file = "[vdso]", region.file_id = UINT64_MAX, region.offset = 0;
    } else if (is_file(vma)) {
      region.file = memory.file_name(vma), region.file_id = uint64_t{vma.file()} + 1;
      if (const auto file = regular_file_of(tree, vma)) region.build_id = file->build_id();
    }
    regions.push_back(std::move(region));
  }
  return regions;
}

// Only what is the same as at the dump.
OpenFile opener_for(const inspect::SavedTree& tree, inspect::ProcessMemory& memory) {
  return [&tree, &memory](const Region& region, std::string& why) {
    const Vma* vma = memory.mapping_at(region.start);
    const auto file = vma ? regular_file_of(tree, *vma) : std::nullopt;
    if (!file) return UniqueFd();
    why = memory.why_missing(*vma);
    if (!why.empty() || file->deleted()) return UniqueFd();
    const UniqueFd place = tree.files().open_named(file->path(), O_PATH);
    if (auto opened = sys::reopen_regular(place.get())) return std::move(*opened);
    why = "the file cannot be opened";
    return UniqueFd();
  };
}

// What a file of this host that is missing, or another one, would have shown: from one of the same build-id.
class Substitutes {
 public:
  Substitutes(const std::vector<Region>& regions, const Search& search) : regions_(regions), search_(search) {}

  bool read(uint64_t page, std::span<std::byte> out) {
    const auto after = std::ranges::upper_bound(regions_, page, {}, &Region::start);
    if (after == regions_.begin()) return false;
    const Region& region = *std::prev(after);
    if (page >= region.end || region.build_id.empty() || region.offset > INT64_MAX) return false;
    const auto [found, is_new] = files_.try_emplace(region.build_id);
    if (is_new) found->second = open_by_build_id(search_.debug_folders, region.build_id, "");
    if (!found->second.valid()) return false;
    std::ranges::fill(out, std::byte{0});
    return sys::pread_some(found->second.get(), out.data(), out.size(), region.offset + (page - region.start)) != 0;
  }

 private:
  std::vector<Region> regions_;
  const Search& search_;
  std::map<std::string, UniqueFd> files_;
};

sys::Registers registers_of(const image::ThreadCore& core, const std::string& file) {
  sys::Registers registers;
  if (core.registers().size() != sizeof registers)
    throw Error(Fault::image,
                fmt::format("{}: the registers of thread {} have {} bytes", file, core.tid(), core.registers().size()));
  std::memcpy(&registers, core.registers().data(), sizeof registers);
  return registers;
}

std::string state_in_image(const image::ThreadCore& thread, const sys::Registers& registers, bool stopped) {
  if (stopped || !thread.restart().present()) return state_of(registers, stopped);
  const auto name = system_call_name(static_cast<uint64_t>(thread.restart().number()));
  return name.empty() ? state_of(registers, stopped) : fmt::format("in {}", name);
}

}  // namespace

ProcessStacks stacks_in_image(const inspect::SavedTree& tree, const tree::ProcessImage& process, const Search& search) {
  ProcessStacks stacks;
  stacks.pid = process.core.pid(), stacks.name = process.core.command(), stacks.ended = process.core.zombie();
  if (stacks.ended) return stacks;
  const Step step("process {}", stacks.pid);
  inspect::ProcessMemory saved(tree, stacks.pid);
  const auto regions = regions_of(tree, saved);
  Substitutes substitutes(regions, search);
  Memory memory({}, {[&](uint64_t page, std::span<std::byte> out) { return saved.read_exactly(page, out); },
                     [&](uint64_t page, std::span<std::byte> out) { return substitutes.read(page, out); }});
  Modules modules(regions, memory, opener_for(tree, saved), search.debug_folders);
  Walker walker(modules, memory);
  std::vector<Walked> walks;
  for (const image::ThreadCore& thread : process.threads) {
    ThreadStack stack;
    stack.tid = thread.tid(), stack.name = thread.name(), stack.state = "ended";
    walks.emplace_back();
    if (!thread.has_ended()) {
      const auto registers = registers_of(thread, fmt::format("core-{}.img", stacks.pid));
      stack.state = state_in_image(thread, registers, process.core.stopped());
      walks.back() = walker.walk(registers);
    }
    stacks.threads.push_back(std::move(stack));
  }
  name_frames(modules, walks, stacks.threads);
  if (const auto python = find_python(modules, memory)) {
    const auto places =
        collect_python(*python, [&](uint64_t address, std::span<std::byte> out) { return memory.read(address, out); });
    for (ThreadStack& thread : stacks.threads)
      if (const auto found = places.find(static_cast<uint64_t>(thread.tid)); found != places.end())
        thread.python = name_python(found->second, memory);
  }
  memory.check();
  stacks.missing = modules.troubles();
  return stacks;
}

TreeStacks stacks_of_image(const images::ImagePlace& place, std::optional<int32_t> pid, const Search& search,
                           const Tell& tell) {
  const inspect::SavedTree tree(place);
  if (tree.inventory().architecture() != kArchitecture)
    throw Error(Fault::image, fmt::format("the image is of a program for {}, stacks can be followed for {} only",
                                          tree.inventory().architecture(), kArchitecture));
  TreeStacks stacks;
  const auto add = [&](const tree::ProcessImage& process) {
    stacks.processes.push_back(told_stacks(process.core.pid(), process.core.command(), tell,
                                           [&] { return stacks_in_image(tree, process, search); }));
  };
  if (pid) {
    add(tree.process(*pid));
    return stacks;
  }
  for (const tree::ProcessImage& process : tree.processes()) add(process);
  return stacks;
}

}  // namespace mcr::stacks
