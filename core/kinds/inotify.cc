// inotify(7): watches with their numbers. Events that wait cannot be read without being taken, nor put back, so there
// must be none. The watches begin last of all, so that a restore does not tell the program of its own doings.
#include <fcntl.h>
#include <sys/inotify.h>

#include <set>

#include "core/base/bounds.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/watched_inode.h"
#include "core/procfs/event_files.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/inotify_file.h"

namespace mcr::kinds {
namespace {

constexpr int kMostCounted = 1 << 20;  // numbers come by counting, a few microseconds each
constexpr uint32_t kMask = IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK;
constexpr uint32_t kNearlyNothing = IN_MOVE_SELF;

class InotifyKind : public Kind {
 public:
  const char* name() const override { return "inotify"; }
  bool claims(const FileView& file) const override {
    return file.link == "anon_inode:inotify" || file.link == "anon_inode:[inotify]";
  }

  void look(const FileView& file, const OpenFiles&) const override {
    for (const auto& watch : procfs::inotify_of(file.info))
      if (watch.wd > kMostCounted)
        throw Error(Fault::refused, fmt::format("watch {} has too high a number to be counted up to", watch.wd),
                    "let the program make a new inotify");
    require_no_events(file);
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    image::Inotify message;
    const auto watches = procfs::inotify_of(file.info);
    if (!watches.empty()) require_right_to_find();
    for (const auto& watch : watches) {
      const Step step("watch {}", watch.wd);
      const NamedInode named = name_of({watch.inode, watch.device, watch.handle_type, watch.handle});
      auto* made = message.add_watches();
      made->set_wd(watch.wd);
      made->set_mask(watch.mask & kMask);
      made->set_path(named.path);
      made->set_mode(named.mode);
    }
    object.mutable_body()->PackFrom(message);
  }

  void require_valid(const image::FileObject& object) const override {
    std::set<int> seen;
    const auto message = body_of<image::Inotify>(object);
    for (const auto& watch : message.watches()) {
      if (watch.wd() < 1 || watch.wd() > kMostCounted || !seen.insert(watch.wd()).second)
        throw Error(Fault::image, fmt::format("wd cannot be {}", watch.wd()));
      if ((watch.mask() & ~kMask) != 0 || (watch.mask() & IN_ALL_EVENTS) == 0)
        throw Error(Fault::image, fmt::format("mask cannot be {:#x}", watch.mask()));
      if (!bounds::is_kernel_path(watch.path()))
        throw Error(Fault::image, fmt::format("path of watch {} cannot be so", watch.wd()));
    }
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    const auto message = body_of<image::Inotify>(object);
    for (const auto& watch : message.watches()) {
      const auto status = table.stat_named(watch.path(), true);
      if (!status || (status->st_mode & S_IFMT) != (watch.mode() & S_IFMT))
        problems.push_back({watch.path(), "is watched by the program (inotify), and is not what it was", {}});
    }
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    UniqueFd fd = sys::make_inotify();
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }

  // An inotify gives each watch the next number and none twice. Those that are missing are made and removed, which
  // leaves events; as long as these come no other may, so the masks come last.
  void start(const image::FileObject& object, int fd, OpenedFiles& table) const override {
    const auto message = body_of<image::Inotify>(object);
    std::map<int, const image::InotifyWatch*> watches;
    for (const auto& watch : message.watches()) watches.emplace(watch.wd(), &watch);
    if (watches.empty()) return;
    sys::set_status_flags(fd, static_cast<int>(object.flags()) | O_NONBLOCK);
    const UniqueFd filler = sys::make_memfd("filler");
    std::map<int, UniqueFd> files;
    int last = 0;
    for (const auto& [wd, watch] : watches) {
      const Step step("watch {} of {}", wd, watch->path());
      while (last + 1 < wd) {
        last = sys::watch_path(fd, door_of(filler), kNearlyNothing);
        sys::unwatch_path(fd, last);
        if (last % 4096 == 0) discard_own(fd, watches);
      }
      files[wd] = table.open_named(watch->path(), O_PATH | O_NOFOLLOW, true);
      last = sys::watch_path(fd, door_of(files[wd]), kNearlyNothing);
      if (last != wd) throw Error(Fault::system, fmt::format("it got the number {}", last));
    }
    discard_own(fd, watches);
    for (const auto& [wd, watch] : watches) sys::watch_path(fd, door_of(files[wd]), watch->mask());
    sys::set_status_flags(fd, static_cast<int>(object.flags()));
  }

 private:
  static std::string door_of(const UniqueFd& file) { return fmt::format("/proc/self/fd/{}", file.get()); }

  static void discard_own(int fd, const std::map<int, const image::InotifyWatch*>& watches) {
    for (const sys::PathEvent& event : sys::take_path_events(fd))
      if (watches.contains(event.wd))
        throw Error(Fault::refused, fmt::format("{} was moved or removed meanwhile", watches.at(event.wd)->path()));
  }
};

}  // namespace

const Kind* inotify_kind() {
  static const InotifyKind kind;
  return &kind;
}

}  // namespace mcr::kinds
