// By which name a file will be found again: its own, another one in the same folder, or one that the dump gives it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/kinds/kind.h"

namespace mcr::kinds {

inline constexpr std::string_view kRemapPrefix = ".mini-criu-remap.";

std::string folder_of(const std::string& path);  // with its last slash
inline bool is_same_file(const struct stat& a, const struct stat& b) {
  return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}
bool is_of_proc(const std::string& path);
// The number in "/proc/N" and "/proc/N/...".
std::optional<pid_t> process_in(const std::string& path);

// Fills `deleted` and `name_gone` and takes the kernel's mark off the link.
void judge_name(FileView& file);
// Fills `is_reached`, of a judged file or folder.
void follow_name(FileView& file);

// Refuses a file that has a name, but none by which it could be found. With `link_remap` a lost name is no obstacle.
void require_name(const FileView& file, bool link_remap);

// Links made next to names that are gone; removed again unless the image that needs them was committed.
class RemapLinks {
 public:
  RemapLinks() = default;
  RemapLinks(RemapLinks&&) = default;
  RemapLinks(const RemapLinks&) = delete;
  RemapLinks& operator=(const RemapLinks&) = delete;
  ~RemapLinks();
  // The path to open the file by; frozen, and require_name() has passed.
  std::string name_of(const FileView& file);
  void keep() { own_.clear(); }
  const std::vector<mcr::image::RemapLink>& records() const { return records_; }

 private:
  void record(const std::string& path, const FileView& file);

  std::vector<std::string> own_;
  std::vector<mcr::image::RemapLink> records_;
};

}  // namespace mcr::kinds
