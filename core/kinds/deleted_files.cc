#include "core/kinds/deleted_files.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <set>

#include "core/base/log.h"
#include "core/kinds/file_names.h"
#include "core/kinds/ghost_content.h"
#include "core/kinds/memfd.h"
#include "core/kinds/opened_files.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/process.h"
#include "core/sys/rights.h"

namespace mcr::kinds {
namespace {

constexpr const char* kGhostMark = "user.mini-criu.deleted-file";
constexpr const char* kNodeMark = "trusted.mini-criu.deleted-file";  // only files and folders have user attributes
constexpr const char* kUnmarked = ".mini-criu-unmarked.";            // begins a name that has no mark yet
constexpr const char* kOtherName = ".mini-criu-";                    // pid and number follow
constexpr uint32_t kUnnamed = O_TMPFILE;  // __O_TMPFILE | O_DIRECTORY: both stay among the flags of such a file

std::string own_door(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

bool is_folder(const image::Ghost& ghost) {
  return S_ISDIR(ghost.mode());
}

// One that has no mark yet.
void remove_unmarked(const std::string& path) {
  if (const auto left = sys::try_stat(path, false)) sys::try_unlink_at(AT_FDCWD, path, S_ISDIR(left->st_mode));
}

// What a restore that was killed has left is taken away first, with all that it had made inside.
void remove_stray(const std::string& path) {
  if (!sys::has_attribute(path, kGhostMark) && !sys::has_attribute(path, kNodeMark)) return;
  const auto status = sys::try_stat(path, false);
  if (!status) return;
  const bool is_folder = S_ISDIR(status->st_mode);
  if (is_folder && sys::may_open(path, O_RDONLY | O_DIRECTORY)) {
    for (const std::string& entry : sys::list_directory(path)) {
      const std::string inner = path + "/" + entry;
      entry.starts_with(kUnmarked) ? remove_unmarked(inner) : remove_stray(inner);
    }
  }
  if (!sys::try_unlink_at(AT_FDCWD, path, is_folder))
    log::warning("kinds", "{}, left by a restore that was killed, could not be removed", path);
}

// The other names of a file whose own was taken hold the pid of the restore that made them. One that runs still needs
// it.
void remove_strays_beside(const std::string& folder, const std::string& name) {
  if (!sys::may_open(folder, O_RDONLY | O_DIRECTORY)) return;
  for (const std::string& entry : sys::list_directory(folder)) {
    const bool is_unmarked = entry.starts_with(kUnmarked);
    const size_t begin = is_unmarked ? std::string_view(kUnmarked).size() : 0;
    const std::string prefix = name + kOtherName;
    if (entry.compare(begin, prefix.size(), prefix) != 0) continue;
    const size_t at = begin + prefix.size();
    if (sys::try_stat("/proc/" + entry.substr(at, entry.find('.', at) - at))) continue;
    is_unmarked ? remove_unmarked(folder + entry) : remove_stray(folder + entry);
  }
}

}  // namespace

// Names that exist for an instant; they go in the opposite order.
class TemporaryNames {
 public:
  TemporaryNames() = default;
  TemporaryNames(const TemporaryNames&) = delete;
  TemporaryNames& operator=(const TemporaryNames&) = delete;
  ~TemporaryNames() {
    for (auto it = names_.rbegin(); it != names_.rend(); ++it)
      if (!sys::try_unlink_at(AT_FDCWD, it->first, it->second))
        log::error("kinds", "{}, which this restore made, could not be removed", it->first);
  }
  void file(const std::string& path) { names_.emplace_back(path, false); }
  void folder(const std::string& path) { names_.emplace_back(path, true); }
  bool has(const std::string& path) const {
    return std::any_of(names_.begin(), names_.end(), [&](const auto& name) { return name.first == path; });
  }
  void forget() { names_.clear(); }
  void remove() {
    for (; !names_.empty(); names_.pop_back()) sys::unlink_at(AT_FDCWD, names_.back().first, names_.back().second);
  }

 private:
  std::vector<std::pair<std::string, bool>> names_;
};

void DeletedFiles::add(image::Ghost ghost) {
  const uint32_t id = ghost.id();
  Entry& entry = entries_[id];
  if (entry.ghost.id() != 0)
    throw Error(Fault::image, fmt::format("files.img: deleted file {} is described twice", id),
                "the image is damaged or was made by a faulty program");
  entry.ghost = std::move(ghost);
}

const image::Ghost* DeletedFiles::find(uint32_t ghost) const {
  const auto found = entries_.find(ghost);
  return found == entries_.end() ? nullptr : &found->second.ghost;
}

void DeletedFiles::for_each(const std::function<void(const image::Ghost&)>& visit) const {
  for (const auto& [id, entry] : entries_) visit(entry.ghost);
}

void DeletedFiles::expect(uint32_t ghost, uint32_t object, const std::string& path, uint32_t flags) {
  const auto found = entries_.find(ghost);
  if (found != entries_.end()) found->second.openings.push_back({object, path, flags, {}});
}

DeletedFiles::Entry& DeletedFiles::entry(uint32_t ghost) {
  const auto found = entries_.find(ghost);
  if (found == entries_.end()) throw Error(Fault::image, fmt::format("files.img: there is no deleted file {}", ghost));
  return found->second;
}

void DeletedFiles::check(uint32_t id, uint32_t mode, std::vector<Problem>& problems) const {
  const auto found = entries_.find(id);
  if (found == entries_.end())
    return problems.push_back({fmt::format("deleted file {}", id), "has no record in the image", {}});
  const image::Ghost& ghost = found->second.ghost;
  if ((ghost.mode() & S_IFMT) != (mode & S_IFMT) || ghost.has_memfd())
    return problems.push_back({ghost.path(), "is a deleted file of another type", {}});
  if (!is_path(ghost.path())) return problems.push_back({ghost.path(), "is no absolute path", {}});
  for (const Opening& opening : found->second.openings)
    if (!is_path(opening.path)) return problems.push_back({opening.path, "is no absolute path", {}});
  if ((S_ISCHR(ghost.mode()) || S_ISBLK(ghost.mode())) && !sys::has_capability(CAP_MKNOD))
    problems.push_back(
        {ghost.path(), "is a deleted device node; CAP_MKNOD is the right that is missing", "restore as root"});
  if (!ghost.folder_gone() && ghost.parent() == 0 && !sys::try_stat(folder_of(ghost.path())))
    problems.push_back({ghost.path(), "is a deleted file whose folder is missing", "make that folder"});
}

UniqueFd DeletedFiles::take(uint32_t ghost, uint32_t object) {
  for (Opening& opening : made(ghost).openings)
    if (opening.object == object) return std::move(opening.fd);
  throw Error(Fault::internal, fmt::format("object {} of deleted file {} was not expected", object, ghost));
}

std::string DeletedFiles::door(uint32_t ghost) {
  return own_door(made(ghost).holder.get());
}

void DeletedFiles::close_all() {
  for (auto& [id, entry] : entries_) {
    entry.holder.reset();
    for (Opening& opening : entry.openings) opening.fd.reset();
  }
}

DeletedFiles::Entry& DeletedFiles::made(uint32_t ghost) {
  Entry& wanted = entry(ghost);
  if (!wanted.is_made) {
    const Step step("deleted file {}", wanted.ghost.path());
    wanted.ghost.has_memfd() ? make_memory(wanted) : make(group_of(wanted));
  }
  return wanted;
}

// Folders and what lay in folders that are gone are made together: nothing can be put into a deleted folder.
std::vector<DeletedFiles::Entry*> DeletedFiles::group_of(Entry& wanted) {
  const auto depends = [](const image::Ghost& g) { return !g.has_memfd() && (is_folder(g) || g.folder_gone()); };
  if (!depends(wanted.ghost)) return {&wanted};
  std::vector<Entry*> group;
  for (auto& [id, entry] : entries_)
    if (depends(entry.ghost) && !entry.is_made) group.push_back(&entry);
  // Outer folders before inner ones, folders before files.
  std::sort(group.begin(), group.end(), [](const Entry* a, const Entry* b) {
    if (is_folder(a->ghost) != is_folder(b->ghost)) return is_folder(a->ghost);
    return a->ghost.path().size() < b->ghost.path().size();
  });
  return group;
}

void DeletedFiles::make(const std::vector<Entry*>& group) {
  TemporaryNames names;
  for (Entry* entry : group) {
    const Step step("{}", entry->ghost.path());
    if (entry->ghost.unnamed() || find_maker(*entry) != entry->openings.end())
      make_unnamed(*entry, names);
    else
      make_named(*entry, names);
  }
  for (Entry* entry : group) {
    const Step step("{}", entry->ghost.path());
    open_all(*entry);
  }
  names.remove();
  for (Entry* entry : group) {
    const std::string door = own_door(entry->holder.get());
    sys::try_remove_attribute(door, S_ISREG(entry->ghost.mode()) || is_folder(entry->ghost) ? kGhostMark : kNodeMark);
    if (!S_ISREG(entry->ghost.mode())) sys::set_modification_time_of(door, entry->ghost.mtime_ns());
    entry->is_made = true;
  }
}

void DeletedFiles::set_time(uint32_t ghost) {
  sys::set_modification_time_of(door(ghost), entry(ghost).ghost.mtime_ns());
}

// One that is there with a mark was made by a restore that was killed, and goes with ours.
void DeletedFiles::have_folder(const std::string& path, TemporaryNames& names) {
  if (names.has(path)) return;
  if (sys::try_stat(path)) {
    if (sys::has_attribute(path, kGhostMark)) names.folder(path);
    return;
  }
  const std::string unmarked = folder_of(path) + kUnmarked + path.substr(path.rfind('/') + 1);
  if (sys::try_stat(unmarked, false)) sys::unlink_at(AT_FDCWD, unmarked, true);
  sys::make_directory_at(AT_FDCWD, unmarked, 0700);
  TemporaryNames guard;
  guard.folder(unmarked);
  sys::try_set_attribute(unmarked, kGhostMark);
  sys::rename_to_free(unmarked, path);
  guard.forget();
  names.folder(path);
}

// Where `path` may exist for an instant: in its folder as it is now, or as it was made again just now, or in one that
// is made only for that.
std::string DeletedFiles::place_for(const Entry& entry, const std::string& path, TemporaryNames& names) {
  std::string folder = folder_of(path);
  std::string base = folder.size() > 1 ? folder.substr(0, folder.size() - 1) : folder;
  const image::Ghost* parent = nullptr;
  for (auto& [id, other] : entries_) {
    if (&other == &entry || !is_folder(other.ghost) || other.names.empty()) continue;
    if (id == entry.ghost.parent() || (entry.ghost.folder_gone() && other.ghost.path() == base)) parent = &other.ghost;
  }
  if (parent) {
    folder = entries_.at(parent->id()).names.begin()->second + "/";
  } else {
    for (size_t slash = folder.find('/', 1); slash != std::string::npos; slash = folder.find('/', slash + 1))
      have_folder(folder.substr(0, slash), names);
  }
  const std::string name = path.substr(path.rfind('/') + 1);
  std::string place = folder + name;
  remove_stray(place);
  if (sys::try_stat(place, false)) remove_strays_beside(folder, name);
  for (int attempt = 1; sys::try_stat(place, false); ++attempt)
    place = fmt::format("{}{}{}{}.{}", folder, name, kOtherName, sys::own_pid(), attempt);
  return place;
}

// Made by O_TMPFILE again, so that it can be given a name as before (linkat(2)); a file that had a name and lost it
// never can. The open file that made it shows the flag, and the one that makes it now gets it.
void DeletedFiles::make_unnamed(Entry& entry, TemporaryNames& names) {
  const std::string folder = folder_of(place_for(entry, entry.ghost.path(), names));
  const auto maker = find_maker(entry);
  UniqueFd made = sys::open(
      folder,
      maker != entry.openings.end() ? static_cast<int>(maker->flags & (kReopenFlags | kUnnamed)) : O_RDWR | O_TMPFILE,
      0600);
  entry.holder = sys::open(own_door(made.get()), O_PATH);
  fill(entry.ghost, sys::open(own_door(made.get()), O_RDWR).get());
  if (maker != entry.openings.end()) maker->fd = std::move(made);
}

std::vector<DeletedFiles::Opening>::iterator DeletedFiles::find_maker(Entry& entry) {
  return std::find_if(entry.openings.begin(), entry.openings.end(),
                      [](const Opening& o) { return (o.flags & (kUnnamed | O_PATH)) == kUnnamed; });
}

void DeletedFiles::make_memory(Entry& entry) {
  UniqueFd file = make_memfd(entry.ghost);
  fill(entry.ghost, file.get());
  if (!is_sealed_late(entry.ghost)) seal_memfd(file.get(), entry.ghost);
  entry.holder = sys::open(own_door(file.get()), O_PATH);
  entry.maker = std::move(file);
  entry.is_made = true;
}

UniqueFd DeletedFiles::take_maker(uint32_t ghost) {
  return std::move(made(ghost).maker);
}

void DeletedFiles::finish_memory() {
  for (auto& [id, entry] : entries_) {
    if (!entry.is_made || !entry.ghost.has_memfd() || !is_sealed_late(entry.ghost)) continue;
    const Step step("seal {}", entry.ghost.path());
    seal_memfd(sys::open(own_door(entry.holder.get()), O_RDWR).get(), entry.ghost);
  }
}

void DeletedFiles::make_named(Entry& entry, TemporaryNames& names) {
  std::set<std::string> paths;
  for (const Opening& opening : entry.openings) paths.insert(opening.path);
  if (paths.empty()) paths.insert(entry.ghost.path());
  if (is_folder(entry.ghost)) paths = {entry.ghost.path()};
  if (S_ISREG(entry.ghost.mode())) return make_file(entry, paths, names);
  for (const std::string& path : paths) {
    const std::string place = place_for(entry, path, names);
    if (entry.names.empty())
      make_node(entry, place, names);
    else
      sys::link_through(own_door(entry.holder.get()), place), names.file(place);
    entry.names[path] = place;
  }
}

// It is marked before it gets its place; should we be killed before that, its name tells whose it is.
void DeletedFiles::make_node(Entry& entry, const std::string& place, TemporaryNames& names) {
  const image::Ghost& ghost = entry.ghost;
  const std::string unmarked = folder_of(place) + kUnmarked + place.substr(place.rfind('/') + 1);
  if (const auto left = sys::try_stat(unmarked, false)) sys::unlink_at(AT_FDCWD, unmarked, S_ISDIR(left->st_mode));
  TemporaryNames guard;
  if (is_folder(ghost)) {
    sys::make_directory_at(AT_FDCWD, unmarked, 0700);
    guard.folder(unmarked);
  } else {
    sys::make_node(unmarked, ghost.mode(), makedev(ghost.device_major(), ghost.device_minor()), ghost.target());
    guard.file(unmarked);
  }
  sys::try_set_attribute(unmarked, is_folder(ghost) ? kGhostMark : kNodeMark);
  entry.holder = sys::open(unmarked, O_PATH | O_NOFOLLOW);
  if (const auto now = sys::try_stat(unmarked, false);
      now && (now->st_uid != ghost.uid() || now->st_gid != ghost.gid()))
    sys::set_ownership_of(unmarked, ghost.uid(), ghost.gid());
  if (!S_ISLNK(ghost.mode())) sys::set_mode_of(own_door(entry.holder.get()), ghost.mode() & 07777);
  sys::rename_to_free(unmarked, place);
  guard.forget();
  is_folder(ghost) ? names.folder(place) : names.file(place);
}

void DeletedFiles::make_file(Entry& entry, const std::set<std::string>& paths, TemporaryNames& names) {
  const std::string first = place_for(entry, *paths.begin(), names);
  int code = 0;
  auto file = sys::probe_open(folder_of(first), O_RDWR | O_TMPFILE, code, 0600);
  const bool has_name = !file;  // NFS and others have no O_TMPFILE
  if (has_name) {
    file = sys::open(first, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    names.file(first);
    entry.names[*paths.begin()] = first;
  }
  sys::try_set_attribute(file->get(), kGhostMark);
  fill(entry.ghost, file->get());
  for (const std::string& path : paths) {
    if (entry.names.contains(path)) continue;
    const std::string place = place_for(entry, path, names);
    sys::link_open_file(file->get(), place);
    names.file(place);
    entry.names[path] = place;
  }
  entry.holder = sys::open(entry.names.begin()->second, O_PATH | O_NOFOLLOW);
}

void DeletedFiles::open_all(Entry& entry) {
  for (Opening& opening : entry.openings) {
    if (opening.fd.valid()) continue;
    const auto name = entry.names.find(is_folder(entry.ghost) ? entry.ghost.path() : opening.path);
    const auto flags = static_cast<int>(opening.flags & kReopenFlags) | O_NOCTTY;
    const bool follows_itself = S_ISLNK(entry.ghost.mode()) && !(flags & O_NOFOLLOW);
    if (name == entry.names.end() || follows_itself)
      opening.fd = sys::open(own_door(entry.holder.get()), flags & ~O_NOFOLLOW);
    else
      opening.fd = sys::open(name->second, flags);
  }
}

void DeletedFiles::fill(const image::Ghost& ghost, int file) const {
  const bool is_huge = sys::is_on_hugetlbfs(file);
  const auto page_bytes = static_cast<uint64_t>(sys::stat_fd(file).st_blksize);
  if (is_huge) sys::truncate_fd(file, ghost.size());  // only what is inside can be mapped
  read_content(reader_, ghost, [&](std::span<const std::byte> bytes, uint64_t at) {
    if (is_huge)
      sys::write_huge(file, bytes.data(), bytes.size(), at, page_bytes);
    else
      sys::pwrite_fully(file, bytes.data(), bytes.size(), at);
  });
  sys::truncate_fd(file, ghost.size());
  if (const struct stat now = sys::stat_fd(file); now.st_uid != ghost.uid() || now.st_gid != ghost.gid())
    sys::set_ownership(file, ghost.uid(), ghost.gid());
  sys::set_mode(file, ghost.mode() & 07777);
  sys::set_modification_time(file, ghost.mtime_ns());
}

}  // namespace mcr::kinds
