#include <fcntl.h>

#include <chrono>
#include <system_error>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "images/commit.h"
#include "images/destination.h"
#include "images/folder_owner.h"
#include "images/format.h"
#include "images/staging.h"

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

class Folder : public Destination {
 public:
  Folder(const std::string& path, bool wants_sync);
  ~Folder() override;
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  RecordWriter records(const std::string& name) override { return RecordWriter(create(name), name, image_id_); }
  void added(RecordWriter&) override {}
  UniqueFd pages(const std::string& name) override;
  void stored(const std::string&, int, uint64_t) override {}
  uint64_t added_pages(const std::string&, int fd) override { return static_cast<uint64_t>(sys::stat_fd(fd).st_size); }
  uint64_t commit(const image::Inventory& inventory, const std::set<std::string>& names) override;

 private:
  void remove_created();
  UniqueFd create(const std::string& name);
  void sync_staged(const std::set<std::string>& names);
  void publish();

  std::string directory_;
  bool sync_;
  std::string image_id_ = random_image_id();
  bool created_ = false;
  UniqueFd dir_;
  std::optional<StagingFolder> staging_;
};

Folder::Folder(const std::string& path, bool wants_sync) : directory_(path), sync_(wants_sync) {
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

Folder::~Folder() {
  staging_.reset();
  remove_created();
}

void Folder::remove_created() {
  if (created_) sys::try_unlink_at(AT_FDCWD, directory_, true);  // fails when something else lies in it by now
}

UniqueFd Folder::create(const std::string& name) {
  return sys::open_at(staging_->fd(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
}

UniqueFd Folder::pages(const std::string& name) {
  UniqueFd fd = create(name);
  sys::write_text(fd.get(), encode_header(FileKind::pages, image_id_));
  return fd;
}

// A rename may reach the disk before the data of the files does, so the files go first. fsync() writes what was
// written through any descriptor of the file, hence the fresh ones.
void Folder::sync_staged(const std::set<std::string>& names) {
  const auto sync_file = [&](const std::string& name) {
    const Step step("sync {}", name);
    sys::sync_fd(sys::open_at(staging_->fd(), name, O_RDONLY | O_NOFOLLOW).get());
  };
  for (const std::string& name : names) sync_file(name);
  sync_file(kInventoryName);
  sys::sync_fd(staging_->fd());
}

void Folder::publish() {
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

uint64_t Folder::commit(const image::Inventory& inventory, const std::set<std::string>& names) {
  const Step step("image folder {}", directory_);
  RecordWriter writer(create(kInventoryName), kInventoryName, image_id_);
  writer.append(inventory);
  writer.finish();
  if (sync_) sync_staged(names);
  publish();
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
  return writer.size();
}

}  // namespace

std::unique_ptr<Destination> folder_destination(const std::string& directory, bool sync) {
  return std::make_unique<Folder>(directory, sync);
}

}  // namespace mcr::images
