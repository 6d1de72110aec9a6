#include "images/staging.h"

#include <fcntl.h>

#include <random>
#include <string_view>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "images/format.h"

namespace mcr::images {
namespace {

std::string random_name() {
  static constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device source;
  std::string name = kStagingPrefix;
  for (int i = 0; i < 6; ++i) name += kLetters[source() % kLetters.size()];
  return name;
}

void empty_folder(int folder) {
  for (const std::string& file : sys::list_directory_fd(folder)) sys::try_unlink_at(folder, file);
}

void remove_when_stale(int dir, const std::string& name) {
  const auto folder = sys::try_open_at(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!folder || lock_folder(folder->get()) != Lock::held) return;
  // Between open and lock its writer may have published it as .commit and died: then it is an image, not a leftover.
  if (!is_same_folder(dir, name, folder->get())) return;
  empty_folder(folder->get());
  sys::try_unlink_at(dir, name, true);
  log::info("images", "removed {}, which a killed writer left", name);
}

void remove_stale(int dir) {
  for (const std::string& name : sys::list_directory_fd(dir)) {
    if (!name.starts_with(kStagingPrefix)) continue;
    try {
      remove_when_stale(dir, name);
    } catch (const Error& error) {  // another user's, for example; it is in nobody's way
      log::debug("images", "{} stays: {}", name, error.reason());
    }
  }
}

}  // namespace

// NFS turns flock() into a byte-range lock, which needs a file open for writing, and so refuses it on folders. Writing
// works there all the same; only what a killed writer left behind stays.
Lock lock_folder(int folder) {
  try {
    return sys::try_lock_exclusive(folder) ? Lock::held : Lock::taken_by_another;
  } catch (const Error& error) {
    log::debug("images", "the folder cannot be locked: {}", error.reason());
    return Lock::unsupported;
  }
}

bool is_same_folder(int dir, const std::string& name, int fd) {
  const auto named = sys::try_stat_at(dir, name);
  const struct stat open = sys::stat_fd(fd);
  return named && named->st_ino == open.st_ino && named->st_dev == open.st_dev;
}

StagingFolder::StagingFolder(int dir) : dir_(dir) {
  remove_stale(dir_);
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (try_create()) return;
  }
  throw Error(Fault::system, "another program keeps removing the staging folder", "give another folder with -D");
}

// A starting writer that cleans up may find the new folder before it is locked and remove it; then another is made.
bool StagingFolder::try_create() {
  name_ = random_name();
  sys::make_directory_at(dir_, name_, 0700);
  auto folder = sys::try_open_at(dir_, name_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!folder || lock_folder(folder->get()) == Lock::taken_by_another) return false;
  if (sys::stat_fd(folder->get()).st_nlink == 0) return false;
  fd_ = std::move(*folder);
  return true;
}

StagingFolder::~StagingFolder() {
  if (published_ || !fd_.valid()) return;
  try {
    empty_folder(fd_.get());
    sys::unlink_at(dir_, name_, true);
  } catch (const std::exception& error) {
    log::warning("images", "the staging folder {} could not be removed: {}", name_, error.what());
  }
}

void StagingFolder::publish() {
  sys::rename_at(dir_, name_, dir_, kCommitName);
  published_ = true;
}

}  // namespace mcr::images
