// Devices of memory that keep no state for the one who opened them: null, zero, full, random, urandom.
#include <fcntl.h>
#include <sys/sysmacros.h>
#undef major  // fields of the message have these names
#undef minor

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

bool is_stateless(dev_t device) {
  if (gnu_dev_major(device) != 1) return false;
  switch (gnu_dev_minor(device)) {
    case 3:
    case 5:
    case 7:
    case 8:
    case 9:
      return true;
    default:
      return false;
  }
}

class CharacterDeviceKind : public Kind {
 public:
  const char* name() const override { return "character_device"; }

  bool claims(const FileView& file) const override {
    return S_ISCHR(file.status.st_mode) && is_stateless(file.status.st_rdev);
  }

  void look(const FileView& file, const OpenFiles& table) const override { table.require_kept(file); }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    image::CharDevice message;
    message.set_path(file.deleted ? file.link : table.name_of(file));
    if (file.deleted) message.set_ghost(table.enter_ghost(file));
    message.set_major(gnu_dev_major(file.status.st_rdev));
    message.set_minor(gnu_dev_minor(file.status.st_rdev));
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    image::CharDevice message;
    if (!object.body().UnpackTo(&message)) return problems.push_back({"device", "its record is unreadable", {}});
    if (!is_stateless(makedev(message.major(), message.minor())))
      return problems.push_back(
          {message.path(),
           fmt::format("is device {}:{}, none that is ever saved", message.major(), message.minor()),
           {}});
    if (message.ghost() != 0) return check_deleted(message, table, problems);
    const auto status = table.stat_named(message.path());
    if (!status || !S_ISCHR(status->st_mode) || status->st_rdev != makedev(message.major(), message.minor()))
      problems.push_back({message.path(),
                          fmt::format("is not the character device {}:{} here", message.major(), message.minor()),
                          {}});
  }

  // The node is made with the numbers of the ghost: they must be these.
  static void check_deleted(const image::CharDevice& message, const OpenedFiles& table,
                            std::vector<Problem>& problems) {
    const image::Ghost* ghost = table.deleted_files().find(message.ghost());
    if (ghost && (ghost->device_major() != message.major() || ghost->device_minor() != message.minor()))
      return problems.push_back({message.path(), "is a deleted file of another type", {}});
    table.deleted_files().check(message.ghost(), S_IFCHR, problems);
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    image::CharDevice message;
    if (!object.body().UnpackTo(&message)) throw Error(Fault::image, "its record is unreadable");
    if (!is_stateless(makedev(message.major(), message.minor())))
      throw Error(Fault::image,
                  fmt::format("device {}:{} is none that is ever saved", message.major(), message.minor()));
    const uint32_t flags = (object.flags() & (O_ACCMODE | O_NONBLOCK | O_LARGEFILE | O_NOFOLLOW)) | O_NOCTTY;
    UniqueFd fd = message.ghost() != 0 ? table.deleted_files().take(message.ghost(), object.id())
                                       : table.open_named(message.path(), flags);
    if (sys::stat_fd(fd.get()).st_rdev != makedev(message.major(), message.minor()))
      throw Error(Fault::refused, fmt::format("{} is another device here", message.path()));
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }
};

}  // namespace

const Kind* character_device_kind() {
  static const CharacterDeviceKind kind;
  return &kind;
}

}  // namespace mcr::kinds
