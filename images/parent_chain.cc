#include "images/parent_chain.h"

#include <algorithm>
#include <filesystem>

#include "core/base/error.h"
#include "images/format.h"
#include "images/proto/core.pb.h"

namespace mcr::images {
namespace {

using image::InheritedPages;
using image::PageRun;

constexpr char kAnotherCopy[] = "bring back the images that it was made after, in the folders that they were in";

std::filesystem::path folder_of(const std::string& directory) {
  std::error_code none;
  const auto real = std::filesystem::weakly_canonical(directory, none);
  return none ? std::filesystem::absolute(directory) : real;
}

[[noreturn]] void throw_broken(const std::string& from, const std::string& what) {
  throw Error(Fault::image, fmt::format("the image in {} builds upon {}", from, what), kAnotherCopy);
}

// Where the parent of an image lies: by its folder and what its inventory says.
std::string parent_folder(const image::ParentImage& parent, const std::string& directory) {
  const std::string& path = parent.path();
  if (path.empty() || path.size() > 4096 || path.find('\0') != std::string::npos ||
      parent.image_id().size() != kImageIdBytes)
    throw_damaged(kInventoryName, kHeaderBytes, "what it says of a parent image is impossible");
  return (folder_of(directory) / path).lexically_normal().string();
}

template <typename Stretch>
const Stretch* stretch_at(const std::vector<Stretch>& all, uint64_t address) {
  const auto found =
      std::ranges::partition_point(all, [&](const Stretch& s) { return s.start() + s.bytes() <= address; });
  return found != all.end() && found->start() <= address ? &*found : nullptr;
}

template <typename Stretch>
void require_order(const std::vector<Stretch>& all, const std::string& file) {
  uint64_t last = 0;
  for (const Stretch& s : all) {
    if (s.bytes() == 0 || s.start() < last || s.bytes() > UINT64_MAX - s.start())
      throw Error(Fault::image, fmt::format("{}: the pages at {:#x} are none, or not in their order", file, s.start()),
                  "the image is damaged: use another copy");
    last = s.start() + s.bytes();
  }
}

}  // namespace

std::string id_of(const ImageReader& reader) {
  for (const auto& file : reader.inventory().files())
    if (file.checksum() != 0) return reader.records(file.name()).image_id();
  throw Error(Fault::image, fmt::format("the image in {} has no records", reader.directory()), kAnotherCopy);
}

ParentChain::~ParentChain() = default;

std::unique_ptr<ParentChain> ParentChain::beginning_with(const std::string& directory) {
  std::unique_ptr<ParentChain> chain(new ParentChain);
  chain->follow(folder_of(directory).string(), {}, {});
  return chain;
}

std::unique_ptr<ParentChain> ParentChain::of(const ImageReader& reader) {
  if (!reader.inventory().has_parent()) return nullptr;
  std::unique_ptr<ParentChain> chain(new ParentChain);
  const auto& parent = reader.inventory().parent();
  chain->follow(parent_folder(parent, reader.directory()), parent.image_id(), reader.directory());
  return chain;
}

void ParentChain::follow(std::string directory, std::string id, const std::string& from) {
  std::set<std::string> seen;
  std::string before = from;
  for (;;) {
    if (levels_.size() == kMostParents) throw_broken(before, fmt::format("more than {} others", kMostParents));
    try {
      levels_.emplace_back(directory);
    } catch (const Error& error) {
      if (before.empty() || error.fault() != Fault::image) throw;
      throw_broken(before, fmt::format("the one in {}, which cannot be read: {}", directory, error.reason()));
    }
    const ImageReader& reader = levels_.back().reader;
    const std::string found = id_of(reader);
    if (!id.empty() && found != id) throw_broken(before, fmt::format("another one than is in {} now", directory));
    if (!seen.insert(found).second)
      throw_broken(before, fmt::format("the one in {}, which builds upon itself by others", directory));
    if (!reader.inventory().has_parent()) return;
    before = directory;
    id = reader.inventory().parent().image_id();
    directory = parent_folder(reader.inventory().parent(), directory);
  }
}

const ImageReader& ParentChain::first() const {
  return levels_.front().reader;
}
std::string ParentChain::first_id() const {
  return id_of(first());
}

std::vector<std::string> ParentChain::directories() const {
  std::vector<std::string> all;
  for (const Level& level : levels_) all.push_back(level.directory);
  return all;
}

// Only what comes before a process in the inventory can lend to it: so no process lends to itself, over however many.
ParentChain::Memory ParentChain::load(const ImageReader& reader, int32_t pid) {
  Memory memory;
  const std::string file = fmt::format("mm-{}.img", pid), core_file = fmt::format("core-{}.img", pid);
  if (!reader.has(file) || !reader.has(core_file)) return memory;
  RecordReader core_records = reader.records(core_file);
  if (!core_records.at<image::ProcessCore>()) throw_damaged(core_file, core_records.offset(), "there is no process");
  const int32_t parent = core_records.read<image::ProcessCore>().ppid();
  const auto& pids = reader.inventory().pids();
  const auto own = std::ranges::find(pids, pid);
  if (std::find(pids.begin(), own, parent) != own) memory.lender = parent;
  RecordReader records = reader.records(file);
  while (const auto type = records.next_type()) {
    if (*type == PageRun::descriptor()->full_name()) {
      if (auto run = records.read<PageRun>(); run.shared() == 0) memory.runs.push_back(std::move(run));
    } else if (*type == InheritedPages::descriptor()->full_name()) {
      memory.inherited.push_back(records.read<InheritedPages>());
    } else if (*type == image::MemoryMap::descriptor()->full_name()) {
      memory.pages_file = records.read<image::MemoryMap>().pages_file();
    } else {
      records.read_any();
    }
  }
  require_order(memory.runs, file);
  require_order(memory.inherited, file);
  return memory;
}

const ParentChain::Memory& ParentChain::memory_of(size_t level, int32_t pid) const {
  const std::scoped_lock lock(mutex_);
  auto& processes = const_cast<Level&>(levels_[level]).processes;
  const auto found = processes.find(pid);
  if (found != processes.end()) return found->second;
  return processes.emplace(pid, load(levels_[level].reader, pid)).first->second;
}

std::vector<AddressRange> ParentChain::contents(int32_t pid) const {
  return contents_at(0, pid);
}

std::vector<AddressRange> ParentChain::contents_at(size_t level, int32_t pid) const {
  const Memory& memory = memory_of(level, pid);
  std::vector<AddressRange> all;
  for (const PageRun& run : memory.runs) all.push_back({run.start(), run.start() + run.bytes()});
  for (const InheritedPages& pages : memory.inherited) all.push_back({pages.start(), pages.start() + pages.bytes()});
  std::ranges::sort(all, {}, &AddressRange::start);
  std::vector<AddressRange> joined;
  for (const AddressRange& range : all)
    if (!joined.empty() && joined.back().end >= range.start)
      joined.back().end = std::max(joined.back().end, range.end);
    else
      joined.push_back(range);
  return joined;
}

void ParentChain::check_memory(const Memory& memory, size_t parent, int32_t pid, const std::string& directory) const {
  const auto is_parents = [](const PageRun& run) { return run.source() == PageRun::PARENT; };
  if (std::ranges::none_of(memory.runs, is_parents)) return;
  const std::vector<AddressRange> theirs =
      parent < levels_.size() ? contents_at(parent, pid) : std::vector<AddressRange>();
  for (const PageRun& run : memory.runs) {
    if (!is_parents(run)) continue;
    const auto found = std::ranges::partition_point(theirs, [&](const auto& r) { return r.end <= run.start(); });
    if (found == theirs.end() || found->start > run.start() || found->end < run.start() + run.bytes())
      throw_broken(directory,
                   fmt::format("pages of process {} at {:#x} that the image before does not have", pid, run.start()));
  }
}

void ParentChain::check_runs(const ImageReader& child) const {
  for (const int32_t pid : child.inventory().pids()) check_memory(load(child, pid), 0, pid, child.directory());
  for (size_t i = 0; i < levels_.size(); ++i)
    for (const int32_t pid : levels_[i].reader.inventory().pids())
      check_memory(memory_of(i, pid), i + 1, pid, levels_[i].directory);
}

// Either the level rises, or the process is one that comes before in the inventory: so this ends.
ParentChain::Place ParentChain::find(int32_t pid, uint64_t start, uint64_t most) const {
  for (size_t at = 0;;) {
    const Memory& memory = memory_of(at, pid);
    const Level& level = levels_[at];
    if (const PageRun* run = stretch_at(memory.runs, start)) {
      most = std::min(run->start() + run->bytes() - start, most);
      if (run->source() != PageRun::PARENT) return {&level.content, {pid, memory.pages_file}, run, most};
      if (at + 1 == levels_.size())
        throw Error(Fault::image,
                    fmt::format("the image in {} has pages of process {} at {:#x} in a parent image, and names none",
                                level.directory, pid, start),
                    kAnotherCopy);
      ++at;
      continue;
    }
    const InheritedPages* pages = stretch_at(memory.inherited, start);
    if (!pages || memory.lender == 0)
      throw Error(Fault::image,
                  fmt::format("the image in {} has no page of process {} at {:#x}, which the one after it builds upon",
                              level.directory, pid, start),
                  kAnotherCopy);
    most = std::min(pages->start() + pages->bytes() - start, most);
    pid = memory.lender;
  }
}

void ParentChain::read(const MemoryOwner& owner, uint32_t shared, uint64_t start, std::span<std::byte> out) const {
  if (shared != 0)
    throw Error(Fault::image, fmt::format("mm-{}.img: shared memory cannot be in a parent image", owner.pid),
                "the image is damaged or was made by a faulty program");
  while (!out.empty()) {
    const Place place = find(owner.pid, start, out.size());
    const Step step("{}", place.content->reader().directory());
    place.content->read(place.owner, *place.run, start, out.first(place.bytes));
    start += place.bytes;
    out = out.subspan(place.bytes);
  }
}

}  // namespace mcr::images
