#include "core/kinds/ghosts.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include "core/kinds/file_locks.h"
#include "core/kinds/file_names.h"
#include "core/kinds/ghost_content.h"
#include "core/kinds/open_files.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

// What O_TMPFILE makes is called "#" and its inode number.
bool is_unnamed(const FileView& file) {
  if ((file.info.flags & O_TMPFILE) == O_TMPFILE) return true;
  return file.link.substr(file.link.rfind('/') + 1) == fmt::format("#{}", file.status.st_ino);
}

// Opening a file that has a lease would break it.
UniqueFd open_source(const FileView& file) {
  if (!has_lease(file)) return sys::open(file.door, O_RDONLY | O_NONBLOCK);
  if (file.copy >= 0 && (file.info.flags & O_ACCMODE) != O_WRONLY) return sys::duplicate(file.copy);
  throw Error(Fault::refused, fmt::format("the deleted file {} has a lease and is open for writing only", file.link),
              "let the program give up the lease");
}

}  // namespace

void Ghosts::look(const FileView& file, uint64_t limit) {
  if (S_ISREG(file.status.st_mode) && static_cast<uint64_t>(file.status.st_size) > limit)
    throw Error(Fault::refused, fmt::format("the deleted file {} has {} bytes", file.link, file.status.st_size),
                "raise --ghost-limit");
}

uint32_t Ghosts::enter(const FileView& file, images::ImageWriter& writer) {
  const auto known = ids_.find({file.status.st_dev, file.status.st_ino});
  if (known != ids_.end()) return known->second;
  const Step step("content of the deleted file");
  image::Ghost ghost;
  ghost.set_path(file.link);
  ghost.set_mode(file.status.st_mode);
  ghost.set_uid(file.status.st_uid);
  ghost.set_gid(file.status.st_gid);
  ghost.set_mtime_ns(file.status.st_mtim.tv_sec * 1'000'000'000 + file.status.st_mtim.tv_nsec);
  ghost.set_device_major(major(file.status.st_rdev));
  ghost.set_device_minor(minor(file.status.st_rdev));
  if (S_ISDIR(file.status.st_mode)) ghost.set_parent(enter_parent(file, writer));
  ghost.set_folder_gone(ghost.parent() != 0 || !sys::try_stat(folder_of(file.link)));
  if (S_ISLNK(file.status.st_mode)) ghost.set_target(sys::read_link_at(sys::open(file.door, O_PATH).get()));
  ghost.set_id(static_cast<uint32_t>(ghosts_.size() + 1));
  if (S_ISREG(file.status.st_mode)) {
    ghost.set_unnamed(is_unnamed(file));
    ghost.set_size(static_cast<uint64_t>(file.status.st_size));
    store_content(file, ghost, writer);
  }
  ids_[{file.status.st_dev, file.status.st_ino}] = ghost.id();
  ghosts_.push_back(std::move(ghost));
  return ghosts_.back().id();
}

// ".." of a deleted folder still leads to the one that it lay in.
uint32_t Ghosts::enter_parent(const FileView& folder, images::ImageWriter& writer) {
  FileView parent;
  parent.pid = folder.pid;
  parent.door = folder.door + "/..";
  const auto status = sys::try_stat(parent.door);
  const size_t end = folder.link.rfind('/');
  if (!status || end == 0) return 0;
  parent.status = *status;
  parent.link = folder.link.substr(0, end);
  const auto there = sys::try_stat(parent.link, false);
  if (there && is_same_file(*there, parent.status)) return 0;
  if (status->st_nlink != 0 && there) return 0;  // renamed meanwhile: the path says nothing
  parent.deleted = parent.name_gone = true;
  return enter(parent, writer);
}

void Ghosts::store_content(const FileView& file, image::Ghost& ghost, images::ImageWriter& writer) const {
  ghost.set_content_file(fmt::format("ghost-{}.img", ghost.id()));
  const UniqueFd source = open_source(file);
  const UniqueFd content = writer.pages(ghost.content_file());
  writer.expect(std::min<uint64_t>(ghost.size(), static_cast<uint64_t>(sys::stat_fd(source.get()).st_blocks) * 512));
  mcr::kinds::store_content(source.get(), content.get(), ghost,
                            [&](uint64_t end) { writer.stored(ghost.content_file(), content.get(), end); });
  writer.add_pages(ghost.content_file(), content.get());
}

void Ghosts::write(images::RecordWriter& records) const {
  for (const auto& ghost : ghosts_) records.append(ghost);
}

}  // namespace mcr::kinds
