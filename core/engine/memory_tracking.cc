#include "core/engine/memory_tracking.h"

#include <sys/syscall.h>

#include <algorithm>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/kinds/io_uring.h"
#include "core/mem/aio_ring.h"
#include "core/procfs/status.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/write_watch.h"

namespace mcr::engine {
namespace {

constexpr char kWhole[] = "everything of it is stored";

std::optional<uint64_t> start_time_of(HostPid pid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", pid));
  return text ? std::optional(procfs::parse_stat(*text).start_time) : std::nullopt;
}

std::filesystem::path real_folder(const std::string& directory) {
  std::error_code none;
  auto real = std::filesystem::weakly_canonical(directory, none);
  return none ? std::filesystem::absolute(directory).lexically_normal() : real;
}

}  // namespace

MemoryTracking::MemoryTracking(const DumpOptions& options) : options_(options) {
  if (!options.previous_images.empty()) open_parent();
  find_keepers();
  if (!options.track_memory) return;
  if (sys::can_watch_writes()) {
    keeper_.emplace();
    return;
  }
  log::warning(
      "dump",
      "Memory cannot be tracked here: the kernel lacks asynchronous write protection (userfaultfd, 6.7) or may "
      "not be asked for it. The next dump will store everything");
}

// A dump waits until the rings are at rest and knows their buffers; ahead of a dump nobody has asked. Of several
// processes one may hold the ring that writes to the memory of another.
void MemoryTracking::look_for_rings(const std::vector<HostPid>& views) {
  if (!keeper_ || (views.size() == 1 && !options_.memory_only)) return;
  for (const HostPid view : views) {
    const std::string folder = fmt::format("/proc/{}/fd/", view);
    for (const std::string& number : sys::list_directory(folder))
      if (sys::try_read_link(folder + number) == kinds::kRingLink) has_unknown_writers_ = true;
  }
}

void MemoryTracking::open_parent() {
  const Step step("the previous image in {}", options_.previous_images);
  const auto own = real_folder(options_.images_dir), previous = real_folder(options_.previous_images);
  if (own == previous)
    throw Error(Fault::usage, "--prev-images-dir is the folder that the new image goes to",
                "give the new image a folder of its own");
  parent_ = images::ParentChain::beginning_with(previous.string());
  for (const image::TrackedProcess& process : parent_->first().inventory().tracking().processes())
    for (const images::AddressRange& range : parent_->contents(process.pid()))
      known_[process.pid()].push_back({range.start, range.end});
}

// Of all that keep anything, those that know the processes of the tree; they may belong to any image.
void MemoryTracking::find_keepers() {
  const std::string wanted = parent_ ? parent_->first().inventory().tracking().token() : std::string();
  for (sys::WatchKeeper& keeper : sys::WatchKeeper::find_all()) {
    bool is_ours = false;
    for (const HostPid pid : trace::tree_of(options_.tree))
      if (const auto start = start_time_of(pid); start && keeper.has(pid, *start)) is_ours = true;
    if (!is_ours) continue;
    for (sys::WatchedProcess& process : keeper.copy_all())
      watched_.push_back(
          {process.pid, process.start_time, std::move(process.watch), !wanted.empty() && keeper.token() == wanted});
    keepers_.push_back(std::move(keeper));
  }
}

const MemoryTracking::Watched* MemoryTracking::find(HostPid pid) const {
  const auto start = start_time_of(pid);
  const auto found =
      std::ranges::find_if(watched_, [&](const Watched& w) { return w.pid == pid && start && w.start_time == *start; });
  return found == watched_.end() ? nullptr : &*found;
}

void MemoryTracking::tell_why_whole(int32_t number, HostPid pid) const {
  if (!parent_) return;
  const auto tell = [&](const std::string& why) { log::warning("dump", "process {}: {}: {}", pid, why, kWhole); };
  const auto& inventory = parent_->first().inventory();
  const auto& tracked = inventory.tracking().processes();
  const auto found = std::ranges::find(tracked, number, &image::TrackedProcess::pid);
  if (!inventory.has_tracking())
    tell("what it has written since the previous image was not tracked (--track-mem)");
  else if (found == tracked.end())
    tell("the previous image does not track it");
  else if (found->start_time() != start_time_of(pid))
    tell("it was started or restored after the previous image was made");
  else
    tell(
        "its memory is not tracked any more since the previous image: another dump came in between, or the process "
        "that keeps the tracking (mini-criu-watch) has ended");
}

MemoryTracking::Memory MemoryTracking::look_at(const trace::FrozenProcess& process, int32_t number,
                                               std::vector<procfs::Mapping>& mappings) {
  Memory memory;
  const Watched* watched = find(process.pid);
  if (watched) {
    memory.watch = watched->watch.get();
    memory.watched = mem::own_watched(mappings, memory.watch);
  }
  const bool is_since = watched && watched->since_parent && sys::can_watch_writes();
  if (!is_since) {
    tell_why_whole(number, process.pid);
    return memory;
  }
  if (const auto found = known_.find(number); found != known_.end()) memory.known = found->second;
  return memory;
}

// From here on the marks in the page tables belong to no image, until ours is there.
void MemoryTracking::end_old_keepers() {
  for (sys::WatchKeeper& keeper : keepers_) keeper.end();
  keepers_.clear();
}

void MemoryTracking::watch(const trace::FrozenProcess& process, int32_t number, Memory memory,
                           inject::ParasiteSession& parasite, const sys::Pagemap& pagemap,
                           const std::vector<image::Vma>& vmas, std::vector<sys::PageRange> contents,
                           const std::vector<sys::PageRange>& pinned) {
  if (!keeper_) return;
  const auto start_time = start_time_of(process.pid);
  const auto tell = [&](const std::string& why) {
    log::warning("dump", "process {}: its memory cannot be tracked: {}. The next dump will store everything of it",
                 process.pid, why);
  };
  if (has_unknown_writers_ ||
      (options_.memory_only && std::ranges::any_of(vmas, [](const auto& vma) { return mem::is_aio_ring(vma); })))
    return tell("requests of io_uring or of asynchronous I/O write to it without a fault");
  UniqueFd made;
  if (memory.watch < 0 || (memory.watched.empty() && !vmas.empty())) {
    try {
      auto [file, code] = parasite.channel().take_made("userfaultfd", SYS_userfaultfd, {sys::write_watch_flags()},
                                                       process.descriptors_pidfd());
      if (!file.valid() || !sys::try_enable_write_watch(file.get()))
        return tell(file.valid() ? "the kernel has no asynchronous write protection (6.7)"
                                 : fmt::format("userfaultfd(2) fails there with {}", sys::code_name(code)));
      made = std::move(file);
    } catch (const Error& error) {
      if (error.fault() != Fault::refused) throw;
      return tell(error.reason());
    }
    memory.watch = made.get();
  }
  end_old_keepers();
  // What is pinned stays as it is, which is: written.
  std::ranges::sort(contents, {}, &sys::PageRange::start);
  contents = mem::ranges_without(contents, pinned);
  if (!start_time || !mem::watch_anew(memory.watch, pagemap, vmas, std::move(contents)))
    return tell("its pages cannot be protected");
  keeper_->add(process.pid, *start_time, memory.watch, process.pidfd.get());
  image::TrackedProcess& entry = tracked_.emplace_back();
  entry.set_pid(number);
  entry.set_start_time(*start_time);
}

void MemoryTracking::describe(image::Inventory& inventory) const {
  if (has_parent_) {
    auto* parent = inventory.mutable_parent();
    parent->set_path(
        std::filesystem::proximate(real_folder(options_.previous_images), real_folder(options_.images_dir)).string());
    parent->set_image_id(parent_->first_id());
  }
  if (!keeper_ || tracked_.empty()) return;
  auto* tracking = inventory.mutable_tracking();
  tracking->set_token(keeper_->token());
  for (const image::TrackedProcess& process : tracked_) *tracking->add_processes() = process;
}

void MemoryTracking::settle() {
  // Without --track-mem the chain ends here.
  if (!keeper_ && parent_) end_old_keepers();
  if (keeper_ && !tracked_.empty()) keeper_->settle();
  keeper_.reset();
}

void set_aside_tracking(HostPid pid, std::vector<procfs::Mapping>& mappings) {
  const auto start = start_time_of(pid);
  if (!start || std::ranges::none_of(mappings, [](const procfs::Mapping& m) { return m.has_flag("uw"); })) return;
  for (sys::WatchKeeper& keeper : sys::WatchKeeper::find_all()) {
    if (!keeper.has(pid, *start)) continue;
    for (const sys::WatchedProcess& process : keeper.copy_all())
      if (process.pid == pid) mem::own_watched(mappings, process.watch.get());
  }
}

}  // namespace mcr::engine
