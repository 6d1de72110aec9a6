// Descriptors of O_PATH: a place in the file system and nothing else, whatever lies there.
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "core/kinds/file_names.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

constexpr uint32_t kPathFlags = O_PATH | O_NOFOLLOW | O_DIRECTORY;  // all others are ignored with O_PATH (open(2))

bool is_device(mode_t mode) {
  return S_ISCHR(mode) || S_ISBLK(mode);
}

class PathOnlyKind : public Kind {
 public:
  const char* name() const override { return "path_only"; }

  bool claims(const FileView& file) const override {
    return (file.info.flags & O_PATH) != 0 && file.link.starts_with("/") && !file.link.starts_with("/memfd:");
  }

  void look(const FileView& file, const OpenFiles& table) const override { table.require_kept(file); }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    image::RegularFile message;
    message.set_mode(file.status.st_mode);
    if (is_device(file.status.st_mode)) {
      message.set_device_major(major(file.status.st_rdev));
      message.set_device_minor(minor(file.status.st_rdev));
    }
    if (file.deleted) message.set_deleted(true), message.set_ghost(table.enter_ghost(file));
    message.set_path(file.deleted ? file.link : table.name_of(file));
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    image::RegularFile m;
    if (!object.body().UnpackTo(&m)) return problems.push_back({"O_PATH descriptor", "its record is unreadable", {}});
    if (!is_path(m.path())) return problems.push_back({m.path(), "is no absolute path", {}});
    if (m.deleted()) return table.deleted_files().check(m.ghost(), m.mode(), problems);
    const auto now = table.stat_named(m.path(), S_ISLNK(m.mode()));
    if (!now) return problems.push_back({m.path(), "file missing", "put it back"});
    if (!is_right(*now, m)) problems.push_back({m.path(), "is of another type than at the dump", {}});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    image::RegularFile message;
    if (!object.body().UnpackTo(&message)) throw Error(Fault::image, "its record is unreadable");
    if (!(object.flags() & O_PATH)) throw Error(Fault::image, "it is not open with O_PATH");
    if (message.deleted()) return table.deleted_files().take(message.ghost(), object.id());
    UniqueFd fd = table.open_named(message.path(), object.flags() & kPathFlags, S_ISLNK(message.mode()));
    if (!is_right(sys::stat_fd(fd.get()), message))
      throw Error(Fault::refused, fmt::format("{} is of another type than at the dump", message.path()));
    return fd;
  }

 private:
  static bool is_right(const struct stat& now, const image::RegularFile& m) {
    if ((now.st_mode & S_IFMT) != (m.mode() & S_IFMT)) return false;
    return !is_device(now.st_mode) || now.st_rdev == makedev(m.device_major(), m.device_minor());
  }
};

}  // namespace

const Kind* path_only_kind() {
  static const PathOnlyKind kind;
  return &kind;
}

}  // namespace mcr::kinds
