// The folder in which an image grows before it exists: DIR/.staging-XXXXXX, locked while its writer lives.
// One thread; `dir` must outlive the object.
#pragma once

#include <string>

#include "core/base/unique_fd.h"

namespace mcr::images {

enum class Lock { held, taken_by_another, unsupported };
Lock lock_folder(int folder);                                   // flock(2), without waiting
bool is_same_folder(int dir, const std::string& name, int fd);  // `name` in `dir` is what `fd` has open

class StagingFolder {
 public:
  explicit StagingFolder(int dir);  // also removes what writers that were killed have left in `dir`
  ~StagingFolder();                 // removes the folder with all that is in it, unless it was published
  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;

  int fd() const { return fd_.get(); }
  // Renames the folder to DIR/.commit: from here on its files are the image. Throws when `.commit` is taken: code()
  // is then that of directory_not_empty or file_exists.
  void publish();

 private:
  bool try_create();

  int dir_;
  std::string name_;
  UniqueFd fd_;
  bool published_ = false;
};

}  // namespace mcr::images
