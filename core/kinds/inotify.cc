// inotify(7): watches with their numbers. Events that wait cannot be read without being taken, nor put back, so there
// must be none. The watches begin last of all, so that a restore does not tell the program of its own doings.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/inotify.h>
#include <sys/sysmacros.h>

#include <set>
#include <thread>

#include "core/base/bounds.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/procfs/event_files.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/inotify_file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

constexpr int kMostCounted = 1 << 20;  // numbers come by counting, a few microseconds each
constexpr uint32_t kMask = IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK;
constexpr uint32_t kNearlyNothing = IN_MOVE_SELF;

// The kernel watches an inode, and has forgotten by which name. A name counts when it leads there again.
std::optional<std::string> path_of(const procfs::InotifyInfo& watch) {
  const sys::FileHandle handle{watch.handle_type, watch.handle};
  if (handle.bytes.empty()) return std::nullopt;
  for (const std::string& folder : procfs::mounts_of(sys::read_text("/proc/self/mountinfo"), watch.device)) {
    int code = 0;
    const auto mount = sys::probe_open(folder, O_RDONLY | O_DIRECTORY | O_NONBLOCK, code);
    if (!mount) continue;
    const auto file = sys::open_handle(mount->get(), handle, O_PATH);
    if (!file) continue;
    const auto path = sys::try_read_link(fmt::format("/proc/self/fd/{}", file->get()));
    if (!path || !bounds::is_kernel_path(*path)) continue;
    const auto again = sys::handle_of(*path);
    if (again && again->type == handle.type && again->bytes == handle.bytes) return path;
  }
  return std::nullopt;
}

void require_nothing_waiting(int inotify) {
  if (const int bytes = sys::bytes_readable(inotify); bytes > 0)
    throw Error(Fault::refused, fmt::format("{} bytes of events wait in it, which could not be put back", bytes),
                "try again when the program has read them");
}

class InotifyKind : public Kind {
 public:
  const char* name() const override { return "inotify"; }
  bool claims(const FileView& file) const override {
    return file.link == "anon_inode:inotify" || file.link == "anon_inode:[inotify]";
  }

  // A program that reads them is given a moment to do so.
  void look(const FileView& file, const OpenFiles&) const override {
    for (const auto& watch : procfs::inotify_of(file.info))
      if (watch.wd > kMostCounted)
        throw Error(Fault::refused, fmt::format("watch {} has too high a number to be counted up to", watch.wd),
                    "let the program make a new inotify");
    if (file.copy >= 0) return;  // asked before, when the program stood still: what has come since is of our own doing
    const auto text = sys::try_read_text(fmt::format("/proc/{}/status", file.pid));
    if (!text || procfs::parse_status(*text).tgid != file.pid.get()) return;  // a thread stands for a leader that ended
    const UniqueFd copy = sys::get_fd(sys::open_pidfd(file.pid).get(), file.fd);
    for (int i = 0; i < 10 && sys::bytes_readable(copy.get()) > 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    require_nothing_waiting(copy.get());
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    image::Inotify message;
    const auto watches = procfs::inotify_of(file.info);
    if (!watches.empty() && !sys::has_capability(CAP_DAC_READ_SEARCH))
      throw Error(Fault::refused, "the names of what it watches can be found with CAP_DAC_READ_SEARCH only",
                  "run mini-criu as root");
    for (const auto& watch : watches) {
      const Step step("watch {}", watch.wd);
      const auto path = path_of(watch);
      const auto status = path ? sys::try_stat(*path, false) : std::nullopt;
      if (!path || !status)
        throw Error(Fault::refused,
                    fmt::format("what it watches (inode {} on device {}:{}) has no name that could be found",
                                watch.inode, major(watch.device), minor(watch.device)),
                    "let the program end that watch, or watch a folder above");
      auto* made = message.add_watches();
      made->set_wd(watch.wd);
      made->set_mask(watch.mask & kMask);
      made->set_path(*path);
      made->set_mode(status->st_mode);
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
