// An image that grows in its folder (images/staging.h) and becomes the folder's image in one rename; destroyed before
// that, nothing of it is left, and the folder keeps what it held. One thread.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "core/base/unique_fd.h"
#include "images/staging.h"

namespace mcr::images {

class StagedImage {
 public:
  // Creates the folder when it is missing (0700). sync: publish() waits for the disk.
  StagedImage(const std::string& directory, bool sync);
  ~StagedImage();
  StagedImage(const StagedImage&) = delete;
  StagedImage& operator=(const StagedImage&) = delete;

  UniqueFd create(const std::string& name) const;  // a new file; throws when it has one of that name
  int fd() const { return staging_->fd(); }        // of the folder in which it grows
  // names: of its files, but for the inventory, which is there too.
  void publish(const std::set<std::string>& names);

 private:
  void remove_created();
  void sync_staged(const std::set<std::string>& names) const;
  void rename_staged();

  std::string directory_;
  bool sync_;
  bool created_ = false;
  UniqueFd dir_;
  std::optional<StagingFolder> staging_;
};

}  // namespace mcr::images
