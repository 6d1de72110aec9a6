#include "images/staged_image.h"

#include <fcntl.h>

#include <chrono>
#include <system_error>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "images/commit.h"
#include "images/folder_owner.h"
#include "images/format.h"

namespace mcr::images {
namespace {

constexpr auto kCommitWait = std::chrono::seconds(10);  // for another writer's renames: milliseconds, in fact

bool is_code(const Error& error, std::errc code) {
  return error.code() == static_cast<int>(code);
}

bool make_folder(const std::string& directory) {
  try {
    return sys::try_make_directory(directory, 0700);
  } catch (const Error& error) {
    if (!is_code(error, std::errc::no_such_file_or_directory)) throw;
    throw Error(Fault::system, fmt::format("the folder above {} does not exist", directory),
                "create it first, or give another folder with -D", error.code());
  }
}

UniqueFd open_folder(const std::string& directory) {
  try {
    return sys::open(directory, O_RDONLY | O_DIRECTORY);
  } catch (const Error& error) {
    if (!is_code(error, std::errc::not_a_directory)) throw;
    throw Error(Fault::system, fmt::format("{} is not a folder", directory), "give another folder with -D",
                error.code());
  }
}

}  // namespace

StagedImage::StagedImage(const std::string& directory, bool sync) : directory_(directory), sync_(sync) {
  const Step step("image folder {}", directory_);
  created_ = make_folder(directory_);
  try {
    dir_ = open_folder(directory_);
    warn_of_others(dir_.get(), directory_);
    staging_.emplace(dir_.get());
  } catch (const Error&) {
    remove_created();
    throw;
  }
}

StagedImage::~StagedImage() {
  staging_.reset();
  remove_created();
}

void StagedImage::remove_created() {
  if (created_) sys::try_unlink_at(AT_FDCWD, directory_, true);  // fails when something else lies in it by now
}

UniqueFd StagedImage::create(const std::string& name) const {
  return sys::open_at(staging_->fd(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
}

// A rename may reach the disk before the data of the files does, so the files go first. fsync() writes what was
// written through any descriptor of the file, hence the fresh ones.
void StagedImage::sync_staged(const std::set<std::string>& names) const {
  const auto sync_file = [&](const std::string& name) {
    const Step step("sync {}", name);
    sys::sync_fd(sys::open_at(staging_->fd(), name, O_RDONLY | O_NOFOLLOW).get());
  };
  for (const std::string& name : names) sync_file(name);
  sync_file(kInventoryName);
  sys::sync_fd(staging_->fd());
}

void StagedImage::rename_staged() {
  const auto deadline = std::chrono::steady_clock::now() + kCommitWait;
  for (;;) {
    try {
      return staging_->publish();
    } catch (const Error& error) {
      if (!is_code(error, std::errc::directory_not_empty) && !is_code(error, std::errc::file_exists)) throw;
    }
    if (finish_pending_commit(dir_.get(), sync_)) continue;
    if (std::chrono::steady_clock::now() > deadline)
      throw Error(Fault::refused, fmt::format("another program is committing an image to {}", directory_),
                  "wait for it to end, or give another folder with -D");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void StagedImage::publish(const std::set<std::string>& names) {
  const Step step("image folder {}", directory_);
  if (sync_) sync_staged(names);
  rename_staged();
  created_ = false;
  if (sync_) sys::sync_fd(dir_.get());
  PendingFiles files{names, names};
  files.present.insert(kInventoryName);
  try {
    roll_forward(dir_.get(), staging_->fd(), files, sync_);
  } catch (const Error& error) {
    // Readers look into .commit, and the next writer tries again: the image is whole all the same.
    log::warning("images", "the image stays in {}/{}: {}", directory_, kCommitName, error.reason());
  }
}

}  // namespace mcr::images
