#include "images/commit.h"

#include <fcntl.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "images/format.h"
#include "images/staging.h"

namespace mcr::images {
namespace {

// The files that the inventory of `folder` lists; empty when there is none. A damaged one counts as none: the image it
// described is about to be replaced, and at worst its files stay as files that no inventory lists.
std::set<std::string> listed_files(int folder) {
  std::set<std::string> names;
  try {
    auto fd = open_image_file(folder, kInventoryName);
    if (!fd) return {};
    RecordReader reader(std::move(*fd), kInventoryName);
    const auto inventory = reader.read<image::Inventory>();
    for (const auto& file : inventory.files()) {
      if (is_valid_file_name(file.name())) names.insert(file.name());
    }
  } catch (const Error& error) {
    log::warning("images", "the inventory of the replaced image cannot be read: {}", error.reason());
  }
  return names;
}

}  // namespace

// All removals come before the first move. So, whenever an old inventory is still in DIR, no new file has arrived
// there yet, and a commit that is taken up again cannot remove a file of the new image.
void roll_forward(int dir, int commit, const PendingFiles& files, bool sync) {
  const bool has_inventory = files.present.contains(kInventoryName);
  if (has_inventory) {
    for (const std::string& old : listed_files(dir)) {
      if (!files.present.contains(old) && !files.listed.contains(old)) sys::try_unlink_at(dir, old);
    }
    sys::try_unlink_at(dir, kInventoryName);
  }
  for (const std::string& name : files.present) {
    if (name != kInventoryName) sys::rename_at(commit, name, dir, name);
  }
  if (has_inventory) sys::rename_at(commit, kInventoryName, dir, kInventoryName);
  // Fails when the next writer has already put its own .commit in the place of this empty one.
  sys::try_unlink_at(dir, kCommitName, true);
  if (sync) sys::sync_fd(dir);
}

bool finish_pending_commit(int dir, bool sync) {
  const auto commit = sys::try_open_at(dir, kCommitName, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!commit) return true;
  if (lock_folder(commit->get()) == Lock::taken_by_another) return false;
  if (!is_same_folder(dir, kCommitName, commit->get())) return true;
  PendingFiles files{.listed = listed_files(commit->get())};
  for (std::string& name : sys::list_directory_fd(commit->get())) files.present.insert(std::move(name));
  roll_forward(dir, commit->get(), files, sync);
  log::info("images", "finished a commit that an earlier writer had begun");
  return true;
}

}  // namespace mcr::images
