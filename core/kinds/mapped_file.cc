#include "core/kinds/mapped_file.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "core/procfs/maps.h"
#include "core/sys/file.h"
#include "core/sys/mapping_query.h"

namespace mcr::kinds {
namespace {

constexpr std::string_view kFolder = "/map_files/";

uint64_t start_of(const std::string& door) {
  return std::stoull(door.substr(door.find(kFolder) + kFolder.size()), nullptr, 16);
}

std::optional<sys::MappedFile> mapped_file(HostPid pid, uint64_t address) {
  if (const auto file = sys::file_mapped_at(pid, address)) return file;
  for (const auto& m : procfs::parse_maps(sys::read_text(fmt::format("/proc/{}/maps", pid))))
    if (m.start == address) return sys::MappedFile{m.device_major, m.device_minor, m.inode};
  return std::nullopt;
}

bool leads_to(const std::string& path, const sys::MappedFile& wanted, struct stat& status) {
  const auto now = sys::try_stat(path);
  if (!now || !(S_ISREG(now->st_mode) || S_ISCHR(now->st_mode))) return false;
  status = *now;
  const sys::MappedFile plain{major(now->st_dev), minor(now->st_dev), now->st_ino};
  if (plain == wanted) return true;
  if (now->st_ino != wanted.inode || !S_ISREG(now->st_mode)) return false;
  int code = 0;
  const auto fd = sys::probe_open(path, O_RDONLY | O_NONBLOCK, code);
  return fd && sys::mapped_as(fd->get()) == wanted;
}

std::vector<std::string> candidates(const FileView& file) {
  std::vector<std::string> paths{file.link, fmt::format("/proc/{}/exe", file.pid)};
  const std::string folder = fmt::format("/proc/{}/fd", file.pid);
  for (const std::string& number : sys::list_directory(folder)) paths.push_back(folder + "/" + number);
  return paths;
}

}  // namespace

bool is_mapping_door(const std::string& door) {
  return door.find(kFolder) != std::string::npos;
}

bool find_mapped_file(FileView& file) {
  const auto wanted = mapped_file(file.pid, start_of(file.door));
  if (!wanted) return false;
  for (const std::string& path : candidates(file))
    if (leads_to(path, *wanted, file.status)) {
      file.door = path;
      return true;
    }
  throw Error(Fault::refused,
              fmt::format("the mapped file {} cannot be reached: it was removed or replaced, and no descriptor of the "
                          "program leads to it",
                          file.link),
              "CAP_CHECKPOINT_RESTORE is the right that is missing (mini-criu check, docs/rights.md)");
}

}  // namespace mcr::kinds
