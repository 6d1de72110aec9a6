// fanotify(7): groups with their marks. Events that wait cannot be put back, as with inotify. A group that is asked for
// permission (FAN_OPEN_PERM) is refused: whoever opens a marked file waits for its answer, and we would be waiting for
// a program that we have stopped ourselves. The marks begin last of all.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/fanotify.h>

#include "core/base/bounds.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/watched_inode.h"
#include "core/procfs/event_files.h"
#include "core/sys/descriptor.h"
#include "core/sys/fanotify_file.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "images/proto/fanotify.pb.h"

namespace mcr::kinds {
namespace {

using image::FanotifyMark;
using Info = procfs::FanotifyMarkInfo;

// What kernels up to 6.18 know (include/uapi/linux/fanotify.h).
constexpr uint32_t kGroupFlags = 0x7fff, kClasses = 0xc;
constexpr uint32_t kUnprivilegedFlags =
    FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME | 0x1000;  // TARGET_FID, 5.17
constexpr uint32_t kEventFlags =
    O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_CLOEXEC | O_LARGEFILE | O_NOATIME | 0100000;
constexpr uint32_t kMarkFlags = FAN_MARK_IGNORED_SURV_MODIFY | 0x200 | sys::kMarkIgnore;  // 0x200: EVICTABLE, 5.19
constexpr uint32_t kEvictable = 0x200;
constexpr uint32_t kPermission = 0x170000;  // FAN_OPEN_PERM, ACCESS_PERM, OPEN_EXEC_PERM; PRE_ACCESS (6.14)
// All events but those of permission; mounts that come and go (6.14); FAN_EVENT_ON_CHILD, FAN_RENAME, FAN_ONDIR.
constexpr uint32_t kMask = 0x1fff | 0x4000 | 0x8000 | 0x3000000 | 0x8000000 | 0x10000000 | 0x40000000;
constexpr size_t kMostMarks = 1 << 20;
constexpr char kMountNamespace[] = "/proc/self/ns/mnt";

FanotifyMark::Kind kind_of_mark(Info::Kind kind) {
  switch (kind) {
    case Info::Kind::inode:
      return FanotifyMark::INODE;
    case Info::Kind::mount:
      return FanotifyMark::MOUNT;
    case Info::Kind::file_system:
      return FanotifyMark::FILE_SYSTEM;
    case Info::Kind::mount_namespace:
      return FanotifyMark::MOUNT_NAMESPACE;
  }
  return FanotifyMark::UNKNOWN;
}

uint32_t type_flags(FanotifyMark::Kind kind) {
  switch (kind) {
    case FanotifyMark::MOUNT:
      return FAN_MARK_MOUNT;
    case FanotifyMark::FILE_SYSTEM:
      return FAN_MARK_FILESYSTEM;
    case FanotifyMark::MOUNT_NAMESPACE:
      return sys::kMarkMountNamespace;
    default:
      return FAN_MARK_INODE;
  }
}

std::string describe(const Info& mark) {
  switch (mark.kind) {
    case Info::Kind::inode:
      return fmt::format("mark on inode {}", mark.inode);
    case Info::Kind::mount:
      return fmt::format("mark on mount {}", mark.mount);
    case Info::Kind::file_system:
      return fmt::format("mark on the file system {}", mark.device);
    case Info::Kind::mount_namespace:
      return fmt::format("mark on the mount namespace {}", mark.inode);
  }
  return "mark";
}

// Whether a mount is what its own folder leads to: another one may lie over it.
bool is_mount_point(const std::string& path, std::optional<int> mount = std::nullopt) {
  int code = 0;
  const auto folder = sys::probe_open(path, O_PATH | O_NOFOLLOW, code);
  if (!folder) return false;
  const auto info = procfs::parse_fdinfo(sys::read_text(fmt::format("/proc/self/fdinfo/{}", folder->get())));
  if (mount && info.mount_id != *mount) return false;
  return procfs::folder_of_mount(sys::read_text("/proc/self/mountinfo"), info.mount_id) == path;
}

NamedInode named(std::optional<std::string> path) {
  const auto status = path ? sys::try_stat(*path) : std::nullopt;
  if (!status)
    throw Error(Fault::refused, "what it marks cannot be found by a path",
                "let the program remove that mark, or unmount what lies over it");
  return {*path, status->st_mode};
}

NamedInode name_of_mount(int mount) {
  auto path = procfs::folder_of_mount(sys::read_text("/proc/self/mountinfo"), mount);
  if (path && !is_mount_point(*path, mount)) path.reset();
  return named(std::move(path));
}

NamedInode name_of_file_system(uint64_t device) {
  for (std::string& path : procfs::mounts_of(sys::read_text("/proc/self/mountinfo"), device)) {
    const auto status = sys::try_stat(path);
    if (status && status->st_dev == device && is_mount_point(path)) return named(std::move(path));
  }
  return named(std::nullopt);
}

NamedInode name_of_mark(const Info& mark) {
  switch (mark.kind) {
    case Info::Kind::inode:
      require_right_to_find();
      return name_of({mark.inode, mark.device, mark.handle_type, mark.handle});
    case Info::Kind::mount:
      return name_of_mount(mark.mount);
    case Info::Kind::file_system:
      return name_of_file_system(mark.device);
    case Info::Kind::mount_namespace:
      break;
  }
  const NamedInode own = named(kMountNamespace);
  if (sys::try_stat(kMountNamespace)->st_ino != mark.inode)
    throw Error(Fault::refused, "that is not the mount namespace of mini-criu", "run mini-criu inside it (nsenter)");
  return own;
}

bool needs_rights(const procfs::FanotifyInfo& group) {
  if ((group.flags & ~kUnprivilegedFlags) != 0 || (group.flags & FAN_REPORT_FID) == 0) return true;
  return std::any_of(group.marks.begin(), group.marks.end(),
                     [](const Info& mark) { return mark.kind != Info::Kind::inode; });
}

// The kernel does not show it. Who could not make it with that right today is taken at its word.
bool seems_unprivileged(const procfs::FanotifyInfo& group, HostPid holder) {
  if (needs_rights(group)) return false;
  const auto status = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", holder)));
  return (status.cap_permitted >> CAP_SYS_ADMIN & 1) == 0;
}

// FAN_EVENT_ON_CHILD means nothing for what has no children; the kernel adds it as it likes.
uint32_t comparable(uint32_t mask) {
  return mask & ~static_cast<uint32_t>(FAN_EVENT_ON_CHILD);
}

class FanotifyKind : public Kind {
 public:
  const char* name() const override { return "fanotify"; }
  bool claims(const FileView& file) const override { return file.link == "anon_inode:[fanotify]"; }

  void look(const FileView& file, const OpenFiles&) const override {
    const auto group = procfs::fanotify_of(file.info);
    if ((group.flags & ~kGroupFlags) != 0)
      throw Error(Fault::refused, fmt::format("it has flags that are not known yet ({:#x})", group.flags));
    for (const auto& mark : group.marks) {
      if (((mark.mask | mark.ignored_mask) & kPermission) != 0)
        throw Error(Fault::refused,
                    fmt::format("its {} lets others wait for the program's permission, mini-criu too, which would be "
                                "waiting for a program that it has stopped",
                                describe(mark)),
                    "let the program remove such marks (FAN_OPEN_PERM and the like) before");
      if (((mark.mask | mark.ignored_mask) & ~kMask) != 0 || (mark.flags & ~kMarkFlags) != 0)
        throw Error(Fault::refused, fmt::format("its {} tells of events that are not known yet", describe(mark)));
    }
    require_no_events(file);
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    const auto group = procfs::fanotify_of(file.info);
    image::FanotifyGroup message;
    message.set_flags(group.flags);
    message.set_event_flags(group.event_flags);
    message.set_unprivileged(seems_unprivileged(group, file.pid));
    for (auto mark = group.marks.rbegin(); mark != group.marks.rend(); ++mark) {
      const Step step("{}", describe(*mark));
      const NamedInode named = name_of_mark(*mark);
      auto* made = message.add_marks();
      made->set_kind(kind_of_mark(mark->kind));
      made->set_flags(mark->flags);
      made->set_mask(mark->mask);
      made->set_ignored_mask(mark->ignored_mask);
      made->set_path(named.path);
      made->set_mode(named.mode);
    }
    object.mutable_body()->PackFrom(message);
  }

  void require_valid(const image::FileObject& object) const override {
    const auto group = body_of<image::FanotifyGroup>(object);
    if ((group.flags() & ~kGroupFlags) != 0 || (group.flags() & kClasses) == kClasses)
      throw Error(Fault::image, fmt::format("flags of a fanotify group cannot be {:#x}", group.flags()));
    if ((group.event_flags() & ~kEventFlags) != 0)
      throw Error(Fault::image, fmt::format("event_flags cannot be {:#x}", group.event_flags()));
    if (group.unprivileged() && (group.flags() & ~kUnprivilegedFlags) != 0)
      throw Error(Fault::image, fmt::format("a group without rights cannot have the flags {:#x}", group.flags()));
    if (static_cast<size_t>(group.marks_size()) > kMostMarks)
      throw Error(Fault::image, fmt::format("there cannot be {} marks", group.marks_size()));
    for (const auto& mark : group.marks()) require_valid_mark(mark, group.unprivileged());
  }

  void check(const image::FileObject& object, const OpenedFiles&, std::vector<Problem>& problems) const override {
    const auto group = body_of<image::FanotifyGroup>(object);
    if (!group.unprivileged() && !sys::has_capability(CAP_SYS_ADMIN))
      problems.push_back({"fanotify", "such a group needs CAP_SYS_ADMIN", "restore as root"});
    for (const auto& mark : group.marks()) {
      const bool is_inode = mark.kind() == FanotifyMark::INODE;
      const auto status = sys::try_stat(mark.path(), !is_inode);
      if (!status || (status->st_mode & S_IFMT) != (mark.mode() & S_IFMT))
        problems.push_back({mark.path(), "is watched by the program (fanotify), and is not what it was", {}});
      else if (!is_inode && mark.kind() != FanotifyMark::MOUNT_NAMESPACE && !is_mount_point(mark.path()))
        problems.push_back({mark.path(), "is watched by the program (fanotify), and nothing is mounted there", {}});
    }
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    const auto group = body_of<image::FanotifyGroup>(object);
    UniqueFd fd = sys::make_fanotify(group.flags(), group.event_flags(), group.unprivileged());
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }

  void start(const image::FileObject& object, int fd, OpenedFiles&) const override {
    const auto group = body_of<image::FanotifyGroup>(object);
    for (const auto& mark : group.marks()) {
      const Step step("mark on {}", mark.path());
      const int link = mark.kind() == FanotifyMark::INODE ? O_NOFOLLOW : 0;
      const UniqueFd target = sys::open(mark.path(), O_PATH | link);
      set_mark(fd, mark, fmt::format("/proc/self/fd/{}", target.get()));
    }
    require_as_before(group, fd);
  }

 private:
  static void require_valid_mark(const FanotifyMark& mark, bool unprivileged) {
    if (mark.kind() < FanotifyMark::INODE || mark.kind() > FanotifyMark::MOUNT_NAMESPACE ||
        (unprivileged && mark.kind() != FanotifyMark::INODE))
      throw Error(Fault::image, fmt::format("kind of a mark cannot be {}", static_cast<int>(mark.kind())));
    if ((mark.flags() & ~kMarkFlags) != 0)
      throw Error(Fault::image, fmt::format("flags of a mark cannot be {:#x}", mark.flags()));
    if (((mark.mask() | mark.ignored_mask()) & ~kMask) != 0 || (mark.mask() | mark.ignored_mask()) == 0)
      throw Error(Fault::image, fmt::format("mask of a mark cannot be {:#x}", mark.mask() | mark.ignored_mask()));
    if (!bounds::is_kernel_path(mark.path())) throw Error(Fault::image, "path of a mark cannot be so");
    if (mark.kind() == FanotifyMark::MOUNT_NAMESPACE && mark.path() != kMountNamespace)
      throw Error(Fault::image, "a mark on a mount namespace has another path");
  }

  static uint32_t wanted(const FanotifyMark& mark, uint32_t mask) {
    const bool has_children = mark.kind() == FanotifyMark::INODE && S_ISDIR(mark.mode());
    return has_children ? mask : comparable(mask);
  }

  static void set_mark(int fd, const FanotifyMark& mark, const std::string& door) {
    const uint32_t type = type_flags(mark.kind()) | (mark.flags() & kEvictable);
    if (mark.mask() != 0) sys::mark(fd, type, wanted(mark, mark.mask()), door);
    if (mark.ignored_mask() == 0) return;
    const uint32_t ignore = (mark.flags() & sys::kMarkIgnore) ? sys::kMarkIgnore : FAN_MARK_IGNORED_MASK;
    sys::mark(fd, type | ignore | (mark.flags() & FAN_MARK_IGNORED_SURV_MODIFY), wanted(mark, mark.ignored_mask()),
              door);
  }

  // The kernel shows what has become of it; evictable marks may be gone already.
  static void require_as_before(const image::FanotifyGroup& group, int fd) {
    const auto now = procfs::fanotify_of(procfs::parse_fdinfo(sys::read_text(fmt::format("/proc/self/fdinfo/{}", fd))));
    size_t at = now.marks.size();
    for (const auto& mark : group.marks()) {
      if (at > 0) {
        const Info& made = now.marks[at - 1];
        if (kind_of_mark(made.kind) == mark.kind() && made.flags == mark.flags() &&
            comparable(made.mask) == comparable(mark.mask()) &&
            comparable(made.ignored_mask) == comparable(mark.ignored_mask())) {
          --at;
          continue;
        }
      }
      if (mark.flags() & kEvictable) continue;
      throw Error(Fault::system, fmt::format("the mark on {} is another one now", mark.path()));
    }
  }
};

}  // namespace

const Kind* fanotify_kind() {
  static const FanotifyKind kind;
  return &kind;
}

}  // namespace mcr::kinds
