// Regular files and directories: reopened by path, at the same offset, with the same flags. A deleted file's content is
// stored in the image.
#include <fcntl.h>

#include "core/kinds/build_id.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/rights.h"

namespace mcr::kinds {
namespace {

// Flags that mean something when a file is opened again; O_CREAT, O_EXCL, O_TRUNC are never among a file's flags.
constexpr uint32_t kReopenFlags = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_DIRECT | O_LARGEFILE |
                                  O_NOATIME | O_NOFOLLOW | O_PATH | O_DIRECTORY;

constexpr uint32_t kUnnamed = O_TMPFILE;  // __O_TMPFILE | O_DIRECTORY: both stay among the flags of such a file

bool is_of_proc(const std::string& path) {
  return path.starts_with("/proc/") || path.starts_with("/sys/");
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

class RegularFileKind : public Kind {
 public:
  const char* name() const override { return "regular_file"; }

  bool claims(const FileView& file) const override {
    return (S_ISREG(file.status.st_mode) || S_ISDIR(file.status.st_mode)) && file.link.starts_with("/") &&
           !sys::is_kernel_memory(file.status.st_dev) &&
           !(file.link.starts_with("/secretmem") && sys::is_secret_memory(file.door));
  }

  void look(const FileView& file, const OpenFiles& table) const override {
    if (file.link.starts_with(fmt::format("/proc/{}/", file.pid)))
      throw Error(Fault::refused, fmt::format("{} is about the program itself", file.link),
                  "such a file cannot be saved yet: let the program close it before the dump");
    for (const std::string& line : file.info.rest)
      if (line.starts_with("lock:"))
        throw Error(Fault::refused, fmt::format("the program holds a lock on {}", file.link),
                    "--file-locks, which would keep it, is not built yet: let the program release it");
    if (file.status.st_nlink == 0) {
      if (S_ISDIR(file.status.st_mode))
        throw Error(Fault::refused, fmt::format("the folder {} is deleted", file.link),
                    "a deleted folder cannot be saved yet");
      if (static_cast<uint64_t>(file.status.st_size) > table.policy().ghost_limit)
        throw Error(Fault::refused, fmt::format("the deleted file {} has {} bytes", file.link, file.status.st_size),
                    "raise --ghost-limit");
      return;
    }
    const auto now = sys::try_stat(file.link);
    if (!now && !sys::may_open(file.link, O_RDONLY))
      throw Error(Fault::refused, fmt::format("{} lies in a folder that mini-criu may not search", file.link),
                  "run mini-criu as root: CAP_DAC_READ_SEARCH is the right that is missing");
    if (!now || !same_file(*now, file.status))
      throw Error(
          Fault::refused, fmt::format("{} is no longer the file that the program opened", file.link),
          "it was removed or replaced but has other names: --link-remap, which would keep it, is not built yet");
  }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    image::RegularFile message;
    message.set_path(file.link);
    message.set_mode(file.status.st_mode);
    message.set_size(static_cast<uint64_t>(file.status.st_size));
    message.set_mtime_ns(file.status.st_mtim.tv_sec * 1'000'000'000 + file.status.st_mtim.tv_nsec);
    message.set_uid(file.status.st_uid);
    message.set_gid(file.status.st_gid);
    if (file.status.st_nlink == 0) {
      message.set_deleted(true);
      message.set_ghost(table.enter_ghost(file));
    } else if (S_ISREG(file.status.st_mode) && table.policy().build_ids && !is_of_proc(file.link)) {
      message.set_build_id(read_build_id(file.door));
    }
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    image::RegularFile m;
    if (!object.body().UnpackTo(&m)) return problems.push_back({"file", "its record is unreadable", {}});
    if (m.path().empty() || m.path().front() != '/') return problems.push_back({m.path(), "is no absolute path", {}});
    if (m.deleted()) {
      const auto folder = sys::try_stat(m.path().substr(0, m.path().rfind('/') + 1));
      if (!folder) problems.push_back({m.path(), "is a deleted file whose folder is missing", "make that folder"});
      return;
    }
    const auto now = sys::try_stat(m.path());
    if (!now) return problems.push_back({m.path(), "file missing", "put it back"});
    if ((now->st_mode & S_IFMT) != (m.mode() & S_IFMT))
      return problems.push_back({m.path(), "is of another type than at the dump", {}});
    if (!sys::may_open(m.path(), static_cast<int>(object.flags())))
      return problems.push_back({m.path(), "may not be opened by mini-criu as the program had it open",
                                 "restore as root, or allow its user to open it"});
    if (!S_ISREG(now->st_mode) || is_of_proc(m.path()) || table.policy().validation == Validation::none) return;
    if (static_cast<uint64_t>(now->st_size) != m.size())
      return problems.push_back({m.path(), fmt::format("has {} bytes, had {} at the dump", now->st_size, m.size()),
                                 "put back the file as it was, or give --file-validation none"});
    if (table.policy().validation != Validation::buildid || m.build_id().empty()) return;
    const std::string id = read_build_id(m.path());
    if (id != m.build_id())
      problems.push_back({m.path(), fmt::format("has build-id {}, had {} at the dump", id, m.build_id()),
                          "put back the file as it was"});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    image::RegularFile message;
    if (!object.body().UnpackTo(&message)) throw Error(Fault::image, "its record is unreadable");
    const bool unnamed = message.deleted() && (object.flags() & kUnnamed) == kUnnamed;
    if (unnamed) return table.open_unnamed_ghost(message.ghost(), static_cast<int>(object.flags()), object.offset());
    const std::string path = message.deleted() ? table.materialise_ghost(message.ghost()) : message.path();
    UniqueFd fd = sys::open(
        path,
        static_cast<int>(object.flags() & kReopenFlags & (message.deleted() ? ~uint32_t{O_NOFOLLOW} : ~0u)) | O_NOCTTY);
    if ((sys::stat_fd(fd.get()).st_mode & S_IFMT) != (message.mode() & S_IFMT))
      throw Error(Fault::refused, fmt::format("{} is of another type than at the dump", path));
    if (object.offset() != 0 && !(object.flags() & O_PATH)) sys::seek(fd.get(), object.offset(), SEEK_SET);
    return fd;
  }
};

}  // namespace

const Kind* regular_file_kind() {
  static const RegularFileKind kind;
  return &kind;
}

}  // namespace mcr::kinds
