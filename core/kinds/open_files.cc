#include "core/kinds/open_files.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <future>
#include <span>

#include "core/base/log.h"
#include "core/base/two_threads.h"
#include "core/kinds/external.h"
#include "core/kinds/file_locks.h"
#include "core/kinds/kinds.h"
#include "core/kinds/mapped_file.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::kinds {
namespace {

std::vector<int> descriptors_of(HostPid pid) {
  std::vector<int> fds;
  for (const std::string& name : sys::list_directory(fmt::format("/proc/{}/fd", pid))) fds.push_back(std::stoi(name));
  std::sort(fds.begin(), fds.end());
  return fds;
}

// As long as nothing is frozen it may have been closed since it was seen. What is open then is looked at when
// everything stands still.
bool is_still_open(const FileView& file) {
  const auto now = sys::try_stat(file.door);
  return now && is_same_file(*now, file.status) && now->st_rdev == file.status.st_rdev;
}

[[noreturn]] void refuse_unclaimed(const FileView& file) {
  throw Error(Fault::refused, fmt::format("{} cannot be saved yet", describe_unclaimed(file)),
              "let the program close it before the dump" + external_remedy(file));
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

std::optional<FileView> view_descriptor(HostPid pid, int fd, const std::string& folder, int doors, int infos) {
  const std::string number = std::to_string(fd);
  auto link = sys::try_read_link_at(doors, number);
  const auto status = sys::try_stat_at(doors, number, true);
  const auto text = sys::try_read_record_at(infos, number);
  if (!link || !status || !text) return std::nullopt;  // closed meanwhile
  FileView file;
  file.pid = pid;
  file.fd = fd;
  file.door = folder + number;
  file.link = std::move(*link);
  file.status = *status;
  file.info = procfs::parse_fdinfo(*text);
  judge_name(file);
  follow_name(file);
  return file;
}

std::vector<FileView> view_some(HostPid pid, std::span<const int> fds) {
  const std::string folder = fmt::format("/proc/{}/fd/", pid);
  const UniqueFd doors = sys::open(folder, O_PATH | O_DIRECTORY);
  const UniqueFd infos = sys::open(fmt::format("/proc/{}/fdinfo", pid), O_PATH | O_DIRECTORY);
  std::vector<FileView> files;
  files.reserve(fds.size());
  for (const int fd : fds)
    if (auto file = view_descriptor(pid, fd, folder, doors.get(), infos.get())) files.push_back(std::move(*file));
  return files;
}

std::vector<std::string> read_links(HostPid pid, std::span<const int> fds) {
  const UniqueFd doors = sys::open(fmt::format("/proc/{}/fd", pid), O_PATH | O_DIRECTORY);
  std::vector<std::string> links(fds.size());  // empty: closed meanwhile
  for (size_t i = 0; i < fds.size(); ++i)
    if (auto link = sys::try_read_link_at(doors.get(), std::to_string(fds[i]))) links[i] = std::move(*link);
  return links;
}

// Nearly all of the time is the kernel's, writing text: very many are looked at by two threads.
template <typename Look>
auto look_at_all(HostPid pid, std::span<const int> fds, bool alone, const Look& look) {
  constexpr size_t kMany = 256;
  if (!alone || fds.size() < kMany) return look(pid, fds);
  const size_t half = fds.size() / 2;
  auto first = std::async(std::launch::async, look, pid, fds.first(half));
  auto rest = look(pid, fds.subspan(half));
  auto all = first.get();
  all.insert(all.end(), std::make_move_iterator(rest.begin()), std::make_move_iterator(rest.end()));
  return all;
}

}  // namespace

// `alone`: no other thread is busy with another process.
OpenFiles::Descriptors OpenFiles::read_descriptors(HostPid pid, size_t most, bool alone) {
  Descriptors found;
  try {
    std::vector<int> fds = descriptors_of(pid);
    const auto all = std::span<const int>(fds);
    const auto seen = all.first(std::min(most, all.size())), unseen = all.subspan(seen.size());
    found.views = look_at_all(pid, seen, alone, view_some);
    if (unseen.empty()) return found;
    std::vector<std::string> links = look_at_all(pid, unseen, alone, read_links);
    for (size_t i = 0; i < links.size(); ++i)
      if (!links[i].empty()) found.rest.push_back({unseen[i], std::move(links[i])});
  } catch (const Error&) {
    found.problem = std::current_exception();
  }
  return found;
}

void OpenFiles::begin(const std::vector<HostPid>& tree, size_t most) {
  outsiders_.begin_again();
  sockets_->begin();
  ptys_.begin();
  constexpr size_t kMany = 8;
  std::vector<Descriptors> all(tree.size());
  by_two_threads(tree.size(), kMany, [&](size_t i) { all[i] = read_descriptors(tree[i], most, tree.size() < kMany); });
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
      for (FileView& file : view_some(pid, wanted)) files.push_back(std::move(file));
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

void OpenFiles::look_at_descriptors(HostPid pid) const {
  const auto views = views_.find(pid);
  if (views == views_.end())
    throw Error(Fault::system, fmt::format("{} was not there when its files were listed", pid));
  for (const FileView& file : views->second) {
    if (!knows_all_ends_ && (S_ISFIFO(file.status.st_mode) || is_socket(file))) continue;
    const Step step("{}", describe(file));
    try {
      look_at(file);
    } catch (const Error&) {
      if (is_still_open(file)) throw;
    }
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
    if (!(file.info.flags & O_PATH)) copy = sys::get_fd(pidfd, file.fd);
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

unsigned OpenFiles::ends_of(const FileView& file) const {
  const auto found = pipe_ends_.find({file.status.st_dev, file.status.st_ino});
  return found == pipe_ends_.end() ? 0 : found->second;
}

// One open file description may be reached by many descriptors. Those that could be one share the inode and the flags
// of open(2) that stay; kcmp tells for certain. Position and other flags (F_SETFL) were read one after the other, and a
// process outside that has the same open file may change them meanwhile.
OpenFiles::Alike OpenFiles::alike(const FileView& file) {
  constexpr uint32_t kChanging = O_CLOEXEC | O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;
  return {file.status.st_dev, file.status.st_ino, file.info.flags & ~kChanging};
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
    auto first = std::async(std::launch::async, sort_some, pid, all.first(all.size() / 2));
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
  if (file.copy >= 0 && !stays_outside) {
    const sys::FileOwner owner = sys::get_owner(file.copy);
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
  if (!file) return;
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
