#include "core/kinds/deleted_files.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <set>

#include "core/kinds/file_names.h"
#include "core/kinds/ghost_content.h"
#include "core/kinds/memfd.h"
#include "core/kinds/opened_files.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/path_walk.h"
#include "core/sys/place.h"
#include "core/sys/process.h"
#include "core/sys/rights.h"

namespace mcr::kinds {
namespace {

constexpr uint32_t kUnnamed = O_TMPFILE;  // __O_TMPFILE | O_DIRECTORY: both stay among the flags of such a file

std::string own_door(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

bool is_folder(const image::Ghost& ghost) {
  return S_ISDIR(ghost.mode());
}

std::string last_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

void require_same(const UniqueFd& opened, int made, const Place& place) {
  if (!is_same_file(sys::stat_fd(opened.get()), sys::stat_fd(made)))
    throw Error(Fault::refused, fmt::format("{} was moved or replaced while it was needed", place.path()),
                "restore again when nobody changes that folder");
}

}  // namespace

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
  if (!ghost.folder_gone() && ghost.parent() == 0 && !sys::try_open_path(folder_of(ghost.path()), O_PATH | O_DIRECTORY))
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
    const mode_t mode = entry->ghost.mode();
    TemporaryNames::unmark(door, mode);
    if (is_folder(entry->ghost)) sys::set_mode_of(door, mode & 07777);
    if (!S_ISREG(mode)) sys::set_modification_time_of(door, entry->ghost.mtime_ns());
    entry->names.clear();
    entry->is_made = true;
  }
}

void DeletedFiles::set_time(uint32_t ghost) {
  sys::set_modification_time_of(door(ghost), entry(ghost).ghost.mtime_ns());
}

// Where `path` may exist for an instant: in its folder as it is now, or as it was made again just now, or in one that
// is made only for that.
Folder& DeletedFiles::folder_for(const Entry& entry, const std::string& path, TemporaryNames& names) {
  const std::string folder = folder_of(path);
  const std::string base = folder.size() > 1 ? folder.substr(0, folder.size() - 1) : folder;
  const Entry* parent = nullptr;
  for (auto& [id, other] : entries_) {
    if (&other == &entry || !is_folder(other.ghost) || other.names.empty()) continue;
    if (id == entry.ghost.parent() || (entry.ghost.folder_gone() && other.ghost.path() == base)) parent = &other;
  }
  if (!parent) return names.folder(folder);
  return names.folder_of(parent->holder.get(), parent->names.begin()->second.path());
}

// Made by O_TMPFILE again, so that it can be given a name as before (linkat(2)); a file that had a name and lost it
// never can. The open file that made it shows the flag, and the one that makes it now gets it.
void DeletedFiles::make_unnamed(Entry& entry, TemporaryNames& names) {
  const Folder& folder = folder_for(entry, entry.ghost.path(), names);
  const auto maker = find_maker(entry);
  UniqueFd made = sys::open_at(
      folder.fd.get(), ".",
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
    Folder& folder = folder_for(entry, path, names);
    if (entry.names.empty())
      make_node(entry, path, folder, names);
    else
      entry.names[path] = names.link(own_door(entry.holder.get()), folder, last_name(path));
  }
}

// The folder gets its mode at the end: until then things are made in it.
void DeletedFiles::make_node(Entry& entry, const std::string& path, Folder& folder, TemporaryNames& names) {
  const image::Ghost& ghost = entry.ghost;
  const auto finish = [&](int workshop, const std::string& name) {
    const auto now = sys::try_stat_at(workshop, name);
    if (now && (now->st_uid != ghost.uid() || now->st_gid != ghost.gid()))
      sys::set_ownership_at(workshop, name, ghost.uid(), ghost.gid());
    if (!S_ISLNK(ghost.mode()) && !is_folder(ghost))
      sys::set_mode_of(fmt::format("{}/{}", own_door(workshop), name), ghost.mode() & 07777);
  };
  const dev_t device = makedev(ghost.device_major(), ghost.device_minor());
  entry.names[path] =
      names.make_node(folder, last_name(path), {ghost.mode(), device, ghost.target()}, finish, entry.holder);
}

void DeletedFiles::make_file(Entry& entry, const std::set<std::string>& paths, TemporaryNames& names) {
  std::map<std::string, Folder*> folders;
  for (const std::string& path : paths) folders[path] = &folder_for(entry, path, names);
  const auto& [first, folder] = *folders.begin();
  int code = 0;
  auto file = sys::probe_open(fmt::format("{}/.", own_door(folder->fd.get())), O_RDWR | O_TMPFILE, code, 0600);
  if (!file) {  // NFS and others have no O_TMPFILE
    file.emplace();
    entry.names[first] = names.create_file(*folder, last_name(first), *file);
  }
  std::vector<Folder*> all;
  for (const auto& [path, each] : folders) all.push_back(each);
  names.mark_file(file->get(), all);
  fill(entry.ghost, file->get());
  for (const auto& [path, each] : folders)
    if (!entry.names.contains(path)) entry.names[path] = names.link(own_door(file->get()), *each, last_name(path));
  const Place& place = entry.names.begin()->second;
  entry.holder = sys::open_in(place.folder->fd.get(), place.name, O_PATH | O_NOFOLLOW);
  require_same(entry.holder, file->get(), place);
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
      opening.fd = sys::open_in(name->second.folder->fd.get(), name->second.name, flags);
    if (name != entry.names.end()) require_same(opening.fd, entry.holder.get(), name->second);
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
