#include "core/kinds/open_files.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <future>
#include <span>

#include "core/base/aside.h"
#include "core/base/batches.h"
#include "core/base/log.h"
#include "core/base/two_threads.h"
#include "core/kinds/build_id.h"
#include "core/kinds/external.h"
#include "core/kinds/file_locks.h"
#include "core/kinds/gpu_devices.h"
#include "core/kinds/kinds.h"
#include "core/kinds/mapped_file.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::kinds {
namespace {

// As long as nothing is frozen it may have been closed since it was seen. What is open then is looked at when
// everything stands still.
bool is_still_open(const FileView& file) {
  const auto now = sys::try_stat(file.door);
  return now && is_same_file(*now, file.status) && now->st_rdev == file.status.st_rdev;
}

[[noreturn]] void refuse_unclaimed(const FileView& file) {
  if (is_gpu_device(file))
    throw Error(Fault::refused, "a GPU device that CUDA did not give up at its checkpoint (NVML, graphics, video)",
                "only what CUDA keeps on a GPU can be saved: let the program close it, as with nvmlShutdown()");
  throw Error(Fault::refused, fmt::format("{} cannot be saved yet", describe_unclaimed(file)),
              "let the program close it before the dump" + external_remedy(file));
}

int number_of(std::string_view name) {
  int number = -1;
  std::from_chars(name.data(), name.data() + name.size(), number);
  return number;
}

std::string describe(const FileView& file) {
  return file.fd >= 0 ? fmt::format("fd {} {}", file.fd, file.link) : fmt::format("{} {}", file.door, file.link);
}

}  // namespace

std::optional<FileView> view_path(HostPid pid, const std::string& door, uint32_t flags) {
  FileView file;
  file.info.flags = flags;
  file.pid = pid;
  file.door = door;
  auto link = sys::try_read_link(door);
  const auto status = sys::try_stat(door);
  if (!link || (!status && !is_mapping_door(door))) return std::nullopt;
  file.link = std::move(*link);
  if (status)
    file.status = *status;
  else if (!find_mapped_file(file))
    return std::nullopt;
  judge_name(file);
  return file;
}

namespace {

// A copy of the open file tells its status and its owner for less than the way through /proc.
void ask_copy(FileView& file, int copy) {
  file.status = sys::stat_fd(copy);
  if (!S_ISREG(file.status.st_mode)) return;
  file.asked = {sys::get_owner(copy), sys::get_write_hint(copy)};
}

// `pidfd`: of a process that stands still; -1: it may run.
std::optional<FileView> view_descriptor(HostPid pid, int fd, const std::string& folder, int doors, int infos,
                                        int pidfd) {
  const std::string number = std::to_string(fd);
  auto link = sys::try_read_link_at(doors, number);
  const auto text = sys::try_read_record_at(infos, number);
  if (!link || !text) return std::nullopt;  // closed meanwhile
  FileView file;
  file.info = procfs::parse_fdinfo(*text);
  if (const auto copy = pidfd >= 0 && !(file.info.flags & O_PATH) ? sys::try_get_fd(pidfd, fd) : std::nullopt) {
    ask_copy(file, copy->get());
  } else {
    const auto status = sys::try_stat_at(doors, number, true);
    if (!status) return std::nullopt;
    file.status = *status;
  }
  file.pid = pid;
  file.fd = fd;
  file.door = folder + number;
  file.link = std::move(*link);
  judge_name(file);
  follow_name(file);
  return file;
}

std::vector<FileView> view_some(HostPid pid, std::span<const int> fds, int pidfd) {
  const std::string folder = fmt::format("/proc/{}/fd/", pid);
  const UniqueFd doors = sys::open(folder, O_PATH | O_DIRECTORY);
  const UniqueFd infos = sys::open(fmt::format("/proc/{}/fdinfo", pid), O_PATH | O_DIRECTORY);
  std::vector<FileView> files;
  files.reserve(fds.size());
  for (const int fd : fds)
    if (auto file = view_descriptor(pid, fd, folder, doors.get(), infos.get(), pidfd))
      files.push_back(std::move(*file));
  return files;
}

std::vector<std::string> read_links(HostPid pid, std::span<const int> fds) {
  const UniqueFd doors = sys::open(fmt::format("/proc/{}/fd", pid), O_PATH | O_DIRECTORY);
  std::vector<std::string> links(fds.size());  // empty: closed meanwhile
  for (size_t i = 0; i < fds.size(); ++i)
    if (auto link = sys::try_read_link_at(doors.get(), std::to_string(fds[i]))) links[i] = std::move(*link);
  return links;
}

}  // namespace

// `alone`: no other thread is busy with another process.
OpenFiles::Descriptors OpenFiles::read_descriptors(HostPid pid, size_t most, bool alone, int pidfd) {
  constexpr size_t kAtOnce = 256;
  Descriptors found;
  const auto read = [&](size_t first, const std::vector<int>& fds) {
    Descriptors some;
    const auto all = std::span<const int>(fds);
    const auto seen = all.first(std::min(most - std::min(first, most), all.size())), unseen = all.subspan(seen.size());
    if (!seen.empty()) some.views = view_some(pid, seen, pidfd);
    std::vector<std::string> links = unseen.empty() ? std::vector<std::string>() : read_links(pid, unseen);
    for (size_t i = 0; i < links.size(); ++i)
      if (!links[i].empty()) some.rest.push_back({unseen[i], std::move(links[i])});
    return some;
  };
  const auto list = [&](const auto& take) {
    sys::list_names(fmt::format("/proc/{}/fd", pid), [&](std::string_view name) { take(number_of(name)); });
  };
  try {
    for (Descriptors& some : by_batches<int, Descriptors>(kAtOnce, alone, list, read)) {
      std::ranges::move(some.views, std::back_inserter(found.views));
      std::ranges::move(some.rest, std::back_inserter(found.rest));
    }
    if (!std::ranges::is_sorted(found.views, {}, &FileView::fd)) std::ranges::sort(found.views, {}, &FileView::fd);
  } catch (const Error&) {
    found.problem = std::current_exception();
  }
  return found;
}

void OpenFiles::begin(const std::vector<HostPid>& tree, size_t most, const std::function<int(HostPid)>& pidfd_of) {
  outsiders_.begin_again();
  sockets_->begin();
  ptys_.begin(policy_.outside_masters);
  constexpr size_t kMany = 8;
  std::vector<Descriptors> all(tree.size());
  by_two_threads(tree.size(), kMany, [&](size_t i) {
    all[i] = read_descriptors(tree[i], most, tree.size() < kMany, pidfd_of ? pidfd_of(tree[i]) : -1);
  });
  for (size_t i = 0; i < tree.size(); ++i) {
    const HostPid pid = tree[i];
    note_process(pid);
    rest_.erase(pid);
    std::vector<FileView>& views = views_[pid] = {};
    // Without it, it has ended meanwhile: as long as nothing is frozen any of them may.
    if (all[i].problem && sys::try_stat(fmt::format("/proc/{}", pid))) std::rethrow_exception(all[i].problem);
    if (all[i].problem) continue;
    views = std::move(all[i].views);
    if (!all[i].rest.empty()) knows_all_ends_ = false, rest_[pid] = std::move(all[i].rest);
    note_pipe_ends(views);
    for (const FileView& file : views)
      if (has_write_lease(file)) leased_.insert({file.status.st_dev, file.status.st_ino});
    for (const FileView& file : views) {
      sockets_->note(file, is_external(file));
      ptys_.note(file);
    }
  }
  if (pidfd_of) note_still_files();
}

// Of those that begin() has left out: what somebody outside may have too. Pipes that nobody has need not be asked about
// when everything stands still.
std::vector<FileView> OpenFiles::rest_of_interest() const {
  std::vector<FileView> files;
  for (const auto& [pid, rest] : rest_) {
    std::vector<int> wanted;
    for (const Unseen& file : rest) {
      if (outsiders_.has_any(file.link, tree_))
        wanted.push_back(file.fd);
      else if (file.link.starts_with("pipe:["))
        outsiders_.note_own_pipe(file.link);
    }
    if (wanted.empty()) continue;
    try {
      for (FileView& file : view_some(pid, wanted, -1)) files.push_back(std::move(file));
    } catch (const Error&) {
      if (sys::try_stat(fmt::format("/proc/{}", pid))) throw;
    }
  }
  return files;
}

std::vector<OpenFiles::Nameless> OpenFiles::nameless(HostPid pid) const {
  constexpr std::string_view kMark = " (deleted)";
  std::vector<Nameless> all;
  if (const auto views = views_.find(pid); views != views_.end())
    for (const FileView& file : views->second)
      if (file.name_gone) all.push_back({fmt::format("{}{}", file.link, kMark), file.door});
  if (const auto rest = rest_.find(pid); rest != rest_.end())
    for (const Unseen& file : rest->second)
      if (file.link.ends_with(kMark)) all.push_back({file.link, fmt::format("/proc/{}/fd/{}", pid, file.fd)});
  return all;
}

bool OpenFiles::has_gpu_device(HostPid pid) const {
  const auto views = views_.find(pid);
  const auto rest = rest_.find(pid);
  return (views != views_.end() && std::ranges::any_of(views->second, is_gpu_device)) ||
         (rest != rest_.end() && std::ranges::any_of(rest->second, is_gpu_name, &Unseen::link));
}

void OpenFiles::note_pipe_ends(const std::vector<FileView>& files) {
  for (const FileView& file : files) {
    if (!S_ISFIFO(file.status.st_mode) || (file.info.flags & O_PATH)) continue;
    const unsigned access = file.info.flags & O_ACCMODE;
    unsigned& ends = pipe_ends_[{file.status.st_dev, file.status.st_ino}];
    ends |= access == O_RDONLY ? kReader : access == O_WRONLY ? kWriter : kReader | kWriter;
    if (file.info.flags & O_DIRECT) ends |= kPackets;  // only the writing end says so
  }
}

void OpenFiles::note_process(HostPid view) {
  if (members_.contains(view)) {
    leaders_.insert(view);
    tree_.insert(view);
    return;
  }
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", view));
  const HostPid leader = text ? HostPid(procfs::parse_status(*text).tgid) : view;
  leaders_.insert(leader);
  tree_.insert(view);
  tree_.insert(leader);
}

bool OpenFiles::is_external(const FileView& file) const {
  return !policy_.external.empty() && policy_.external.contains(resource_of(file));
}

// Locks show in fdinfo whatever the kind of the file.
const Kind& OpenFiles::look_at(const FileView& file) const {
  const Kind* kind = is_external(file) ? external_kind() : kind_of(file);
  if (!kind) refuse_unclaimed(file);
  look_at_locks(file, policy_.file_locks);
  // A restore opens what is mapped on its own, and a write lease wants to be alone (fcntl(2), "Leases").
  if (file.fd < 0 && leased_.contains({file.status.st_dev, file.status.st_ino}))
    throw Error(Fault::refused, fmt::format("the program has a write lease on {}, which it has mapped too", file.link),
                "let the program give up the lease, or unmap the file");
  kind->look(file, *this);
  return *kind;
}

void OpenFiles::require_kept(const FileView& file) const {
  if (file.deleted)
    Ghosts::look(file, policy_.ghost_limit);
  else
    require_name(file, policy_.link_remap);
}

void OpenFiles::look_at_descriptors(HostPid pid, Obstacles& obstacles) const {
  const auto views = views_.find(pid);
  if (views == views_.end())
    throw Error(Fault::system, fmt::format("{} was not there when its files were listed", pid));
  for (const FileView& file : views->second) {
    if (!knows_all_ends_ && (S_ISFIFO(file.status.st_mode) || is_socket(file))) continue;
    if (policy_.gpu_devices_close && is_gpu_device(file)) continue;
    const Step step("{}", describe(file));
    const Obstacles::About about(obstacles, file.fd);
    obstacles.pass([&] {
      try {
        look_at(file);
      } catch (const Error&) {
        if (is_still_open(file)) throw;
      }
    });
  }
}

void OpenFiles::look_at_path(HostPid pid, const std::string& door) const {
  const auto file = view_path(pid, door);
  if (!file) return;
  const Step step("{}", describe(*file));
  look_at(*file);
}

std::vector<image::Descriptor> OpenFiles::enter_descriptors(HostPid pid, int pidfd, images::ImageWriter& writer) {
  writer_ = &writer;
  std::vector<image::Descriptor> descriptors;
  std::set<uint32_t> entered;
  sort_many(pid, views_.at(pid));
  for (FileView& file : views_.at(pid)) {
    const Step step("{}", describe(file));
    // An O_PATH descriptor has nothing but its path, and pidfd_getfd refuses it on some kernels.
    UniqueFd copy;
    if (!(file.info.flags & O_PATH) && !is_asked_all(file)) copy = sys::get_fd(pidfd, file.fd);
    file.copy = copy.get();
    image::Descriptor descriptor;
    descriptor.set_fd(file.fd);
    descriptor.set_close_on_exec((file.info.flags & O_CLOEXEC) != 0);
    descriptor.set_file(ids_[{pid, file.fd}] = find_or_enter(file));
    first_views_.try_emplace(descriptor.file(), &file);
    if (entered.insert(descriptor.file()).second)
      for (auto& lock : locks_of(file, true)) *descriptor.add_locks() = std::move(lock);
    file.copy = -1;
    descriptors.push_back(std::move(descriptor));
  }
  return descriptors;
}

// Its name leads to it, and it is too small to have a build-id.
bool OpenFiles::is_asked_all(const FileView& file) const {
  return file.asked && file.is_reached && !is_external(file) &&
         (static_cast<uint64_t>(file.status.st_size) < kSmallestElf || !policy_.build_ids);
}

unsigned OpenFiles::ends_of(const FileView& file) const {
  const auto found = pipe_ends_.find({file.status.st_dev, file.status.st_ino});
  return found == pipe_ends_.end() ? 0 : found->second;
}

// One open file description may be reached by many descriptors. Those that could be one share the inode and the flags
// of open(2) that stay; kcmp tells for certain. Position and other flags (F_SETFL) were read one after the other, and a
// process outside that has the same open file may change them meanwhile. The position counts where nobody does.
OpenFiles::Alike OpenFiles::alike(const FileView& file) const {
  constexpr uint32_t kChanging = O_CLOEXEC | O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;
  const bool is_still = still_.contains({file.status.st_dev, file.status.st_ino});
  return {file.status.st_dev, file.status.st_ino, file.info.flags & ~kChanging, is_still ? file.info.position : 0};
}

// Files that are open very often, by the tree alone: it stands still, and so do the positions. What moves one even so
// is a request of io_uring.
void OpenFiles::note_still_files() {
  constexpr size_t kMany = 256;
  still_.clear();
  size_t count = 0;
  for (const auto& [pid, files] : views_) count += files.size();
  if (count < kMany) return;
  std::map<Inode, std::pair<size_t, const FileView*>> found;
  for (const auto& [pid, files] : views_)
    for (const FileView& file : files) {
      if (file.link == "anon_inode:[io_uring]") return;
      if (!S_ISREG(file.status.st_mode) || !file.link.starts_with("/")) continue;
      auto& [uses, view] = found[{file.status.st_dev, file.status.st_ino}];
      // By one name, by which somebody outside would be found.
      if (!view) view = &file;
      uses = file.is_reached && file.link == view->link && uses != SIZE_MAX ? uses + 1 : SIZE_MAX;
    }
  for (const auto& [inode, use] : found)
    if (use.first >= kMany && use.first != SIZE_MAX && outsiders_.never_had(use.second->link, tree_))
      still_.insert(inode);
}

namespace {

constexpr int kEqual = 0, kLess = 1;  // kcmp(2)

// Descriptors that lead to one open file.
using OneFile = std::vector<int>;

// In the order of kcmp(2).
std::vector<OneFile> sort_some(HostPid pid, std::span<const int> fds) {
  std::vector<OneFile> files;
  std::vector<uint32_t> order;  // moved about instead of what it counts
  for (const int fd : fds) {
    int result = kLess;
    const auto place = std::ranges::partition_point(order, [&](uint32_t i) {
      const int now = sys::compare_files(pid, files[i].front(), pid, fd);
      if (now == kEqual) result = kEqual;
      return now == kLess;
    });
    if (result == kEqual) {
      files[*place].push_back(fd);
    } else {
      order.insert(place, static_cast<uint32_t>(files.size()));
      files.push_back({fd});
    }
  }
  std::vector<OneFile> sorted;
  sorted.reserve(order.size());
  for (const uint32_t i : order) sorted.push_back(std::move(files[i]));
  return sorted;
}

std::vector<OneFile> merge(HostPid pid, std::vector<OneFile> left, std::vector<OneFile> right) {
  std::vector<OneFile> merged;
  merged.reserve(left.size() + right.size());
  auto l = left.begin(), r = right.begin();
  while (l != left.end() && r != right.end()) {
    const int order = sys::compare_files(pid, l->front(), pid, r->front());
    if (order == kEqual) {
      l->insert(l->end(), r->begin(), r->end());
      ++r;
    } else {
      merged.push_back(std::move(order == kLess ? *l++ : *r++));
    }
  }
  merged.insert(merged.end(), std::make_move_iterator(l), std::make_move_iterator(left.end()));
  merged.insert(merged.end(), std::make_move_iterator(r), std::make_move_iterator(right.end()));
  return merged;
}

}  // namespace

// Very many that could be one are compared by two threads, before any of them is entered.
void OpenFiles::sort_many(HostPid pid, const std::vector<FileView>& files) {
  constexpr size_t kMany = 256;
  sorted_.clear();
  if (files.size() < kMany) return;
  std::map<Alike, std::vector<int>> groups;
  for (const FileView& file : files) groups[alike(file)].push_back(file.fd);
  for (const auto& [key, fds] : groups) {
    auto& candidates = known_[key];
    if (fds.size() < kMany || !candidates.empty()) continue;
    const auto all = std::span<const int>(fds);
    auto first = begin_aside(sort_some, pid, all.first(all.size() / 2));
    std::vector<OneFile> rest = sort_some(pid, all.subspan(all.size() / 2));
    for (const OneFile& file : merge(pid, first.get(), std::move(rest))) {
      candidates.push_back(std::make_shared<Known>(Known{pid, file.front(), 0}));
      for (const int fd : file) sorted_[{pid, fd}] = candidates.back();
    }
  }
}

uint32_t OpenFiles::find_or_enter(FileView& file) {
  std::shared_ptr<Known> known;
  if (const auto sorted = sorted_.find({file.pid, file.fd}); sorted != sorted_.end()) {
    known = sorted->second;
  } else {
    auto& candidates = known_[alike(file)];
    // All of the kernel's anonymous files (eventfd(2) and kin) share one inode. kcmp(2) orders them.
    const auto compare = [&](const Known& k) { return sys::compare_files(k.pid, k.fd, file.pid, file.fd); };
    const auto place = std::ranges::partition_point(candidates, [&](const auto& k) { return compare(*k) == kLess; });
    if (place != candidates.end() && compare(**place) == kEqual)
      known = *place;
    else
      known = *candidates.insert(place, std::make_shared<Known>(Known{file.pid, file.fd, 0}));
  }
  if (known->id != 0) return known->id;
  known->id = ++last_id_;  // first: it may travel in a message of its own queue
  enter(file, known->id);
  return known->id;
}

uint32_t OpenFiles::id_of(HostPid pid, int fd) const {
  const auto found = ids_.find({pid, fd});
  return found == ids_.end() ? 0 : found->second;
}

void OpenFiles::connect() {
  // What lies in a message is entered before the socket that it waits in.
  std::sort(objects_.begin(), objects_.end(), [](const auto& a, const auto& b) { return a.id() < b.id(); });
  for (image::FileObject& object : objects_) {
    const auto view = first_views_.find(object.id());
    if (view == first_views_.end()) continue;
    const FileView* file = view->second;
    const Step step("process {}", file->pid), file_step("{}", describe(*file));
    kind_named(object.kind())->connect(*file, *this, object);
  }
}

// Restored as a number, the owner must be somebody who is restored too. F_NOTIFY leaves an owner on a folder, and
// nothing else of it can be seen (fcntl(2), fs/notify/dnotify).
void OpenFiles::require_own_signals(const FileView& file, const sys::FileOwner& owner) const {
  if (owner.pid == 0) return;
  if (S_ISDIR(file.status.st_mode))
    throw Error(Fault::refused, fmt::format("signals are sent about the folder {} (F_NOTIFY or F_SETOWN)", file.link),
                "directory notification cannot be seen from outside: close the folder before the dump, or use inotify");
  pid_t process = owner.pid;
  if (owner.type == F_OWNER_TID)
    if (const auto text = sys::try_read_text(fmt::format("/proc/{}/status", owner.pid)))
      process = procfs::parse_status(*text).tgid;
  if (tree_.contains(HostPid(process))) return;
  throw Error(Fault::refused,
              fmt::format("the signals of {} go to {} {} outside of the program (F_SETOWN)", file.link,
                          owner.type == F_OWNER_PGRP ? "process group" : "process", owner.pid),
              "let the program take that back, or dump both together");
}

void OpenFiles::enter(FileView& file, uint32_t id) {
  const Kind& kind = look_at(file);
  image::FileObject object;
  object.set_id(id);
  object.set_kind(kind.name());
  object.set_flags(file.info.flags & ~static_cast<uint32_t>(O_CLOEXEC));
  object.set_offset(file.info.position);
  if (&kind == external_kind()) stayed_outside_.insert(resource_of(file));
  const bool stays_outside = &kind == external_kind();  // and so do its owner and the locks of the open file
  if ((file.copy >= 0 || file.asked) && !stays_outside) {
    const sys::FileOwner owner = file.asked ? file.asked->owner : sys::get_owner(file.copy);
    require_own_signals(file, owner);
    if (owner.pid != 0) {  // 0: it has ended
      object.set_owner_type(owner.type);
      object.set_owner_pid(trace::number_inside(HostTid(owner.pid)));
    }
    object.set_owner_signal(owner.signal);
  }
  if (!stays_outside)
    for (auto& lock : locks_of(file, false)) *object.add_locks() = std::move(lock);
  kind.dump(file, *this, object);
  log::debug("kinds", "object {} is {} {}", object.id(), kind.name(), file.link);
  objects_.push_back(std::move(object));
}

uint32_t OpenFiles::enter_viewed(const FileView& file, uint32_t flags) {
  auto [entry, is_new] = paths_.try_emplace({file.status.st_dev, file.status.st_ino, flags}, 0);
  if (!is_new) return entry->second;
  entry->second = ++last_id_;
  FileView own = file;
  enter(own, entry->second);
  return entry->second;
}

uint32_t OpenFiles::enter_path(HostPid pid, const std::string& door, uint32_t flags, images::ImageWriter& writer) {
  writer_ = &writer;
  const auto file = view_path(pid, door, flags);
  if (!file)
    throw Error(Fault::refused, fmt::format("{} cannot be read", door), "run as root, or with CAP_CHECKPOINT_RESTORE");
  const Step step("{}", describe(*file));
  return enter_viewed(*file, flags);
}

namespace {

std::string door_of(HostPid pid, const procfs::Mapping& m) {
  return fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, m.start, m.end);
}

OpenFiles::MappedName name_in(const procfs::Mapping& m, uint32_t flags) {
  return {makedev(m.device_major, m.device_minor), m.inode, m.path, flags};
}

// A mapping shows the device of the file system, which for some (btrfs, overlayfs) is not that of stat(2), by which
// files are told apart.
bool is_known_by_name(const procfs::Mapping& m, const FileView& file) {
  return !m.deleted && !file.deleted && !file.name_gone && S_ISREG(file.status.st_mode) && m.path == file.link &&
         m.inode == file.status.st_ino && makedev(m.device_major, m.device_minor) == file.status.st_dev;
}

}  // namespace

uint32_t OpenFiles::enter_mapping(HostPid pid, const procfs::Mapping& mapping, uint32_t flags,
                                  images::ImageWriter& writer) {
  const MappedName name = name_in(mapping, flags);
  if (!mapping.deleted)
    if (const auto known = mapped_.find(name); known != mapped_.end()) return known->second;
  writer_ = &writer;
  const std::string door = door_of(pid, mapping);
  const auto file = view_path(pid, door, flags);
  if (!file)
    throw Error(Fault::refused, fmt::format("{} cannot be read", door), "run as root, or with CAP_CHECKPOINT_RESTORE");
  const Step step("{}", describe(*file));
  const uint32_t id = enter_viewed(*file, flags);
  if (is_known_by_name(mapping, *file)) mapped_.emplace(name, id);
  return id;
}

void OpenFiles::look_at_mapping(HostPid pid, const procfs::Mapping& mapping, MappedNames& looked_at) const {
  if (!mapping.deleted && looked_at.contains(name_in(mapping, 0))) return;
  const auto file = view_path(pid, door_of(pid, mapping));
  if (!file || (policy_.gpu_devices_close && is_gpu_device(*file))) return;
  const Step step("{}", describe(*file));
  look_at(*file);
  if (is_known_by_name(mapping, *file)) looked_at.insert(name_in(mapping, 0));
}

void OpenFiles::write(images::ImageWriter& writer) {
  for (const std::string& name : policy_.external)
    if (!stayed_outside_.contains(name))
      log::warning("kinds", "--external {}: the program has no such file open", name);
  auto records = writer.records("files.img");
  ghosts_.write(records);
  for (const auto& link : remaps_.records()) records.append(link);
  for (const auto& pipe : pipes_) records.append(pipe);
  for (const auto& segment : segments_) records.append(segment);
  for (const auto& [id, pty] : ptys_.ptys()) records.append(pty);
  for (const auto& object : objects_) records.append(object);
  records.finish();
  writer.add(records);
}

}  // namespace mcr::kinds
