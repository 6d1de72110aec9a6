#include "core/jobs/written_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <map>
#include <optional>
#include <utility>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/jobs/job_file.h"
#include "core/procfs/maps.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/file_copy.h"
#include "core/sys/file_system.h"

namespace mcr::jobs {
namespace {

constexpr char kList[] = "/list.json";

using Identity = std::pair<dev_t, ino_t>;

struct Written {
  std::string path;
  std::string door;  // a link below /proc that leads to the open file itself
};

class Collector {
 public:
  explicit Collector(const std::set<std::string>& left_out) : left_out_(left_out) {}

  void look_at(HostPid pid) {
    for (const std::string& number : sys::list_directory(fmt::format("/proc/{}/fd", pid))) {
      const auto info = sys::try_read_text(fmt::format("/proc/{}/fdinfo/{}", pid, number));
      if (!info) continue;
      const uint32_t flags = procfs::parse_fdinfo(*info).flags;
      if ((flags & O_ACCMODE) != O_RDONLY && (flags & O_PATH) == 0) add(fmt::format("/proc/{}/fd/{}", pid, number));
    }
    // Mapped for writing, perhaps by a descriptor that is closed.
    for (const procfs::Mapping& mapping : procfs::parse_maps(sys::read_text(fmt::format("/proc/{}/maps", pid))))
      if (mapping.shared && (mapping.prot & PROT_WRITE) && mapping.inode != 0) add_mapping(pid, mapping);
  }

  const std::map<Identity, Written>& files() const { return files_; }

 private:
  // The doors of mappings need a right (map_files, CAP_CHECKPOINT_RESTORE); else the name has to lead to the same file.
  void add_mapping(HostPid pid, const procfs::Mapping& mapping) {
    const std::string door = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, mapping.start, mapping.end);
    if (sys::try_stat(door)) return add(door);
    if (mapping.deleted || !mapping.path.starts_with('/') || left_out_.contains(mapping.path)) return;
    const auto named = sys::try_stat(mapping.path);
    const dev_t device = makedev(mapping.device_major, mapping.device_minor);
    if (!named || named->st_ino != mapping.inode || named->st_dev != device)
      throw Error(Fault::refused,
                  fmt::format("{}, which process {} has mapped, is not to be found by its name", mapping.path, pid),
                  "take the checkpoint with CAP_CHECKPOINT_RESTORE, or without --rollback-files");
    if (S_ISREG(named->st_mode))
      files_.try_emplace({named->st_dev, named->st_ino}, Written{mapping.path, mapping.path});
  }

  void add(std::string door) {
    const auto path = sys::try_read_link(door);
    const auto open_file = sys::try_stat(door);
    if (!path || !open_file || !S_ISREG(open_file->st_mode) || !path->starts_with('/')) return;
    if (left_out_.contains(*path)) return;
    const auto named = sys::try_stat(*path);
    if (!named || named->st_dev != open_file->st_dev || named->st_ino != open_file->st_ino) return;  // deleted
    files_.try_emplace({named->st_dev, named->st_ino}, Written{*path, std::move(door)});
  }

  const std::set<std::string>& left_out_;
  std::map<Identity, Written> files_;
};

job::SavedFile copy_of(const Written& written, const std::string& folder, size_t number) {
  const Step step("keep {}", written.path);
  const UniqueFd from = sys::open(written.door, O_RDONLY | O_NOATIME);
  job::SavedFile saved;
  saved.set_path(written.path);
  saved.set_copy(std::to_string(number));
  const UniqueFd to = sys::open(folder + "/" + saved.copy(), O_RDWR | O_CREAT | O_EXCL, 0600);
  sys::copy_content(from.get(), to.get());
  const struct stat status = sys::stat_fd(from.get());
  saved.set_bytes(static_cast<uint64_t>(status.st_size));
  saved.set_mode(status.st_mode & 07777);
  return saved;
}

void put_back(const job::SavedFile& file, int copy) {
  const Step step("put {} back", file.path());
  const UniqueFd to = sys::open(file.path(), O_RDWR | O_CREAT | O_NOFOLLOW, file.mode() & 07777);
  sys::copy_content(copy, to.get());
  sys::sync_fd(to.get());
}

}  // namespace

std::vector<job::SavedFile> save_written_files(const std::vector<HostPid>& pids, const std::string& folder,
                                               const std::set<std::string>& left_out) {
  Collector collector(left_out);
  for (const HostPid pid : pids) collector.look_at(pid);
  std::vector<job::SavedFile> saved;
  if (collector.files().empty()) return saved;
  sys::try_make_directory(folder, 0700);
  for (const auto& [identity, written] : collector.files()) saved.push_back(copy_of(written, folder, saved.size() + 1));
  return saved;
}

void sync_saved(const std::vector<job::SavedFile>& files, const std::string& folder) {
  if (files.empty()) return;
  for (const job::SavedFile& file : files) sys::sync_fd(sys::open(folder + "/" + file.copy(), O_RDONLY).get());
  sync_folder(folder);
}

FilesPutBack::FilesPutBack(const std::vector<job::SavedFile>& files, const std::string& folder,
                           const std::string& replaced)
    : replaced_folder_(replaced) {
  if (files.empty()) return;
  std::vector<UniqueFd> copies;
  for (const job::SavedFile& file : files) {
    const Step step("the copy of {}", file.path());
    copies.push_back(sys::open(folder + "/" + file.copy(), O_RDONLY | O_NOFOLLOW));
    if (static_cast<uint64_t>(sys::stat_fd(copies.back().get()).st_size) != file.bytes())
      throw Error(Fault::image, "it has another size than it was saved with",
                  "resume from another checkpoint (--from)");
  }
  give_back_former();
  keep_what_stands(files);
  try {
    for (size_t i = 0; i < files.size(); ++i) put_back(files[i], copies[i].get());
  } catch (...) {
    give_back(MadeAnew::remove);
    sys::remove_tree(replaced_folder_);
    throw;
  }
}

// Without a list nothing was changed yet.
void FilesPutBack::give_back_former() {
  if (try_read_message(replaced_folder_ + kList, replaced_)) {
    const Step step("the files that an earlier resume has replaced");
    give_back(MadeAnew::leave);
  }
  replaced_.Clear();
  sys::remove_tree(replaced_folder_);
}

void FilesPutBack::keep_what_stands(const std::vector<job::SavedFile>& files) {
  sys::try_make_directory(replaced_folder_, 0700);
  job::Replaced list;
  for (const job::SavedFile& file : files) {
    const Step step("keep {}", file.path());
    job::SavedFile& one = *list.add_files();
    one.set_path(file.path());
    const auto status = sys::try_stat(file.path(), false);
    if (!status) continue;
    if (!S_ISREG(status->st_mode))
      throw Error(Fault::refused, "it is no regular file any more", "move it away, or resume without --rollback-files");
    one.set_copy(std::to_string(list.files_size()));
    const UniqueFd kept =
        sys::open(fmt::format("{}/{}", replaced_folder_, one.copy()), O_RDWR | O_CREAT | O_EXCL, 0600);
    sys::copy_content(sys::open(file.path(), O_RDONLY | O_NOFOLLOW).get(), kept.get());
    sys::sync_fd(kept.get());
  }
  write_message(replaced_folder_ + kList, list);
  replaced_ = std::move(list);
}

// The list and the copies stay where that fails.
void FilesPutBack::give_back(MadeAnew made) const {
  for (const job::SavedFile& one : replaced_.files()) {
    const Step step("give {} back what it held, which lies in {}", one.path(), replaced_folder_);
    if (one.copy().empty()) {
      if (made == MadeAnew::remove) sys::try_unlink_at(AT_FDCWD, one.path());
      continue;
    }
    const UniqueFd copy = sys::open(fmt::format("{}/{}", replaced_folder_, one.copy()), O_RDONLY | O_NOFOLLOW);
    const UniqueFd to = sys::open(one.path(), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    sys::copy_content(copy.get(), to.get());
    sys::sync_fd(to.get());
  }
}

FilesPutBack::~FilesPutBack() {
  if (replaced_.files().empty()) return;
  try {
    if (!kept_) give_back(MadeAnew::remove);
    sys::remove_tree(replaced_folder_);
  } catch (const std::exception& error) {
    log::error("job", "{}", error.what());
  }
}

}  // namespace mcr::jobs
