#include "core/kinds/file_names.h"

#include <fcntl.h>

#include <charconv>

#include "core/base/log.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/rights.h"

namespace mcr::kinds {
namespace {

constexpr std::string_view kMark = " (deleted)";
constexpr size_t kMostEntries = 100'000;  // of a folder that is searched for another name

bool leads_to(const std::string& path, const FileView& file) {
  const auto now = sys::try_stat(path, false);
  return now && is_same_file(*now, file.status);
}

std::optional<std::string> find_other_name(const FileView& file) {
  const std::string folder = folder_of(file.link);
  const auto name = sys::find_entry(folder, file.status.st_ino, kMostEntries);
  if (!name || !leads_to(folder + *name, file)) return std::nullopt;
  return folder + *name;
}

// A file of the lower layer keeps its count when its name goes. One that is open for writing, or has been given another
// name, lies in the upper layer and counts right (kernel documentation, filesystems/overlayfs).
bool is_deleted_below(const FileView& file) {
  return S_ISREG(file.status.st_mode) && file.status.st_nlink == 1 && (file.info.flags & O_ACCMODE) == O_RDONLY &&
         sys::is_overlay(file.door) && !find_other_name(file);
}

}  // namespace

std::string folder_of(const std::string& path) {
  return path.substr(0, path.rfind('/') + 1);
}

bool is_of_proc(const std::string& path) {
  return path.starts_with("/proc/") || path.starts_with("/sys/");
}

std::optional<pid_t> process_in(const std::string& path) {
  constexpr std::string_view kProc = "/proc/";
  if (!path.starts_with(kProc)) return std::nullopt;
  const char* end = path.data() + path.size();
  pid_t pid = 0;
  const auto [after, code] = std::from_chars(path.data() + kProc.size(), end, pid);
  if (code != std::errc() || pid <= 0 || (after != end && *after != '/')) return std::nullopt;
  return pid;
}

// A name may end in the words of the kernel's mark: only where nothing of that name is the file are they the mark. A
// folder has one name only, whatever its file system counts. The client of NFS renames what is deleted while open.
void judge_name(FileView& file) {
  if (!file.link.starts_with("/")) return;
  const bool is_marked = file.link.ends_with(kMark);
  if (is_marked && (file.status.st_nlink == 0 || !leads_to(file.link, file))) {
    file.link.resize(file.link.size() - kMark.size());
    file.name_gone = true;
    file.deleted = file.status.st_nlink == 0 || S_ISDIR(file.status.st_mode) || is_deleted_below(file);
  } else if (file.link.compare(file.link.rfind('/'), 5, "/.nfs") == 0 && sys::is_nfs(file.door)) {
    file.name_gone = file.deleted = true;
  }
}

void follow_name(FileView& file) {
  const bool is_kept_by_name = S_ISREG(file.status.st_mode) || S_ISDIR(file.status.st_mode);
  file.is_reached = is_kept_by_name && !file.name_gone && file.link.starts_with("/") && leads_to(file.link, file);
}

void require_name(const FileView& file, bool link_remap) {
  if (file.deleted) return;
  if (!file.name_gone) {
    if (file.is_reached || leads_to(file.link, file)) return;
    if (!sys::may_open(file.link, O_RDONLY) && !sys::try_stat(file.link, false))
      throw Error(Fault::refused, fmt::format("{} lies in a folder that mini-criu may not search", file.link),
                  "run mini-criu as root: CAP_DAC_READ_SEARCH is the right that is missing");
    throw Error(Fault::refused, fmt::format("{} cannot be reached by its name", file.link),
                "another file system is mounted over it, or it lies outside of what mini-criu can see");
  }
  if (find_other_name(file)) return;
  if (!sys::try_stat(folder_of(file.link)))
    throw Error(Fault::refused, fmt::format("the name {} is gone, and its folder too", file.link),
                "the file has another name elsewhere: let the program open it by that name");
  if (!link_remap)
    throw Error(Fault::refused, fmt::format("the name {} was removed or replaced, the file has another one", file.link),
                "give --link-remap, which makes a temporary link beside the old name");
}

RemapLinks::~RemapLinks() {
  for (const std::string& path : own_)
    if (!sys::try_unlink_at(AT_FDCWD, path)) log::error("kinds", "the temporary link {} could not be removed", path);
}

// The name follows from the inode, so that a link which a killed dump has left is taken by the next one, and by its
// restore removed.
std::string RemapLinks::name_of(const FileView& file) {
  if (!file.name_gone) return file.link;
  if (const auto other = find_other_name(file)) {
    if (other->compare(other->rfind('/') + 1, kRemapPrefix.size(), kRemapPrefix) == 0) record(*other, file);
    return *other;
  }
  std::string path = fmt::format("{}{}{}", folder_of(file.link), kRemapPrefix, file.status.st_ino);
  for (int attempt = 1; sys::try_stat(path, false) && attempt < 100; ++attempt)
    path = fmt::format("{}{}{}.{}", folder_of(file.link), kRemapPrefix, file.status.st_ino, attempt);
  const Step step("temporary link");
  sys::link_through(file.door, path);
  own_.push_back(path);
  record(path, file);
  return path;
}

void RemapLinks::record(const std::string& path, const FileView& file) {
  for (const auto& known : records_)
    if (known.path() == path) return;
  image::RemapLink link;
  link.set_path(path);
  link.set_inode(file.status.st_ino);
  if (const auto handle = sys::handle_of(path)) {
    link.set_handle_type(handle->type);
    link.set_handle(handle->bytes);
  }
  records_.push_back(std::move(link));
}

}  // namespace mcr::kinds
