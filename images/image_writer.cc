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

}  // namespace

struct ImageWriter::Impl {
  std::string directory;
  bool sync;
  std::string image_id = random_image_id();
  bool created = false;
  UniqueFd dir;
  std::optional<StagingFolder> staging;
  image::Inventory listed;  // only `files` is used
  uint64_t bytes = 0;

  Impl(const std::string& path, bool wants_sync);
  void remove_created();
  UniqueFd create(const std::string& name);
  void enter(const std::string& name, uint64_t size, uint64_t checksum);
  void write_inventory(image::Inventory& inventory);
  void sync_staged();
  void publish();
};

ImageWriter::Impl::Impl(const std::string& path, bool wants_sync) : directory(path), sync(wants_sync) {
  const Step step("image folder {}", directory);
  created = make_folder(directory);
  try {
    dir = open_folder(directory);
    warn_of_others(dir.get(), directory);
    staging.emplace(dir.get());
  } catch (const Error&) {
    remove_created();
    throw;
  }
}

void ImageWriter::Impl::remove_created() {
  if (created) sys::try_unlink_at(AT_FDCWD, directory, true);  // fails when something else lies in it by now
}

UniqueFd ImageWriter::Impl::create(const std::string& name) {
  return sys::open_at(staging->fd(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
}

void ImageWriter::Impl::enter(const std::string& name, uint64_t size, uint64_t checksum) {
  auto* file = listed.add_files();
  file->set_name(name);
  file->set_size(size);
  file->set_checksum(checksum);
  bytes += size;
}

void ImageWriter::Impl::write_inventory(image::Inventory& inventory) {
  inventory.set_format_version(kFormatVersion);
  *inventory.mutable_files() = listed.files();
  RecordWriter writer(create(kInventoryName), kInventoryName, image_id);
  writer.append(inventory);
  writer.finish();
  bytes += writer.size();
}

// A rename may reach the disk before the data of the files does, so the files go first. fsync() writes what was
// written through any descriptor of the file, hence the fresh ones.
void ImageWriter::Impl::sync_staged() {
  const auto sync_file = [&](const std::string& name) {
    const Step step("sync {}", name);
    sys::sync_fd(sys::open_at(staging->fd(), name, O_RDONLY | O_NOFOLLOW).get());
  };
  for (const auto& file : listed.files()) sync_file(file.name());
  sync_file(kInventoryName);
  sys::sync_fd(staging->fd());
}

void ImageWriter::Impl::publish() {
  const auto deadline = std::chrono::steady_clock::now() + kCommitWait;
  for (;;) {
    try {
      return staging->publish();
    } catch (const Error& error) {
      if (!is_code(error, std::errc::directory_not_empty) && !is_code(error, std::errc::file_exists)) throw;
    }
    if (finish_pending_commit(dir.get(), sync)) continue;
    if (std::chrono::steady_clock::now() > deadline)
      throw Error(Fault::refused, fmt::format("another program is committing an image to {}", directory),
                  "wait for it to end, or give another folder with -D");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

ImageWriter::ImageWriter(const std::string& directory, bool sync) : impl_(std::make_unique<Impl>(directory, sync)) {}

ImageWriter::~ImageWriter() {
  impl_->staging.reset();
  impl_->remove_created();
}

static void check_name(const std::string& name) {
  if (!is_valid_file_name(name) || name == kInventoryName)
    throw Error(Fault::internal, fmt::format("\"{}\" is no name for a file of an image", name));
}

RecordWriter ImageWriter::records(const std::string& name) {
  check_name(name);
  return RecordWriter(impl_->create(name), name, impl_->image_id);
}

UniqueFd ImageWriter::pages(const std::string& name) {
  check_name(name);
  const Step step("write {}", name);
  UniqueFd fd = impl_->create(name);
  sys::write_text(fd.get(), encode_header(FileKind::pages, impl_->image_id));
  return fd;
}

void ImageWriter::add(RecordWriter& finished) {
  impl_->enter(finished.name(), finished.size(), finished.checksum());
}

void ImageWriter::add_pages(const std::string& name, int fd) {
  impl_->enter(name, static_cast<uint64_t>(sys::stat_fd(fd).st_size), 0);
}

void ImageWriter::commit(image::Inventory inventory) {
  const Step step("image folder {}", impl_->directory);
  impl_->write_inventory(inventory);
  if (impl_->sync) impl_->sync_staged();
  impl_->publish();
  impl_->created = false;
  if (impl_->sync) sys::sync_fd(impl_->dir.get());
  PendingFiles files;
  for (const auto& file : impl_->listed.files()) files.listed.insert(file.name());
  files.present = files.listed;
  files.present.insert(kInventoryName);
  try {
    roll_forward(impl_->dir.get(), impl_->staging->fd(), files, impl_->sync);
  } catch (const Error& error) {
    // Readers look into .commit, and the next writer tries again: the image is whole all the same.
    log::warning("images", "the image stays in {}/{}: {}", impl_->directory, kCommitName, error.reason());
  }
}

uint64_t ImageWriter::bytes() const {
  return impl_->bytes;
}
const std::string& ImageWriter::directory() const {
  return impl_->directory;
}

}  // namespace mcr::images
