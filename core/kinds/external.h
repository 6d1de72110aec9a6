// Open files that stay outside of an image (--external) and descriptors that take their place (--inherit-fd). Both are
// called by resources: "file[MOUNT:INODE]" and "tty[RDEV:DEV]" in hexadecimal, "pipe[INODE]" and "socket[INODE]".
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/base/unique_fd.h"
#include "core/kinds/kind.h"

namespace mcr::kinds {

// One spelling for "pipe:[5]" and "pipe[5]", "unix[5]" and "socket[5]", "file[1B:07]" and "file[1b:7]"; nullopt: none.
std::optional<std::string> canonical_resource(std::string_view text);
std::string resource_of(const FileView& file);      // empty: it has no such name
std::string external_remedy(const FileView& file);  // ", or give --external '...'"; empty likewise

// The descriptors that a restore was given, by resource or by the absolute path of a file.
class InheritedFiles {
 public:
  InheritedFiles() = default;
  // Takes over the descriptors, but the first three, which are ours too.
  explicit InheritedFiles(const std::multimap<std::string, int>& given);

  // The first of its name that is open for what the program did with it; or else the first.
  std::optional<int> find(const mcr::image::FileObject& object) const;
  // `objects`: all of the image.
  void check(const std::map<uint32_t, mcr::image::FileObject>& objects, std::vector<Problem>& problems) const;
  void close_all() { owned_.clear(); }

 private:
  std::multimap<std::string, int> given_;
  std::vector<UniqueFd> owned_;
};

}  // namespace mcr::kinds
