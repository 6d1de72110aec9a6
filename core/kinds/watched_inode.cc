#include "core/kinds/watched_inode.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/sysmacros.h>

#include <thread>

#include "core/base/bounds.h"
#include "core/procfs/event_files.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

std::optional<std::string> path_of(const WatchedInode& watched) {
  const sys::FileHandle handle{watched.handle_type, watched.handle};
  if (handle.bytes.empty()) return std::nullopt;
  for (const std::string& folder : procfs::mounts_of(sys::read_text("/proc/self/mountinfo"), watched.device)) {
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

void require_nothing_waiting(int fd) {
  if (const int bytes = sys::bytes_readable(fd); bytes > 0)
    throw Error(Fault::refused, fmt::format("{} bytes of events wait in it, which could not be put back", bytes),
                "try again when the program has read them");
}

}  // namespace

void require_right_to_find() {
  if (!sys::has_capability(CAP_DAC_READ_SEARCH))
    throw Error(Fault::refused, "the names of what it watches can be found with CAP_DAC_READ_SEARCH only",
                "run mini-criu as root");
}

NamedInode name_of(const WatchedInode& watched) {
  const auto path = path_of(watched);
  const auto status = path ? sys::try_stat(*path, false) : std::nullopt;
  if (!path || !status)
    throw Error(Fault::refused,
                fmt::format("what it watches (inode {} on device {}:{}) has no name that could be found", watched.inode,
                            major(watched.device), minor(watched.device)),
                "let the program end that watch, or watch a folder above");
  return {*path, status->st_mode};
}

void require_no_events(const FileView& file) {
  if (file.copy >= 0) return;  // asked before, when the program stood still: what has come since is of our own doing
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", file.pid));
  if (!text || procfs::parse_status(*text).tgid != file.pid.get()) return;  // a thread stands for a leader that ended
  const UniqueFd copy = sys::get_fd(sys::open_pidfd(file.pid).get(), file.fd);
  for (int i = 0; i < 10 && sys::bytes_readable(copy.get()) > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  require_nothing_waiting(copy.get());
}

}  // namespace mcr::kinds
