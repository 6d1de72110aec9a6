#include <fcntl.h>

#include <map>
#include <set>
#include <system_error>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/far_image.h"
#include "images/folder_owner.h"
#include "images/format.h"
#include "images/received_image.h"

namespace mcr::images {
namespace {

constexpr char kAnotherCopy[] = "the image is damaged: use another copy";

UniqueFd open_folder(const std::string& directory) {
  try {
    return sys::open(directory, O_RDONLY | O_DIRECTORY);
  } catch (const Error& error) {
    if (error.code() == static_cast<int>(std::errc::no_such_file_or_directory))
      throw Error(Fault::image, fmt::format("{} does not exist", directory), "give the folder of an image with -D");
    if (error.code() == static_cast<int>(std::errc::not_a_directory))
      throw Error(Fault::image, fmt::format("{} is not a folder", directory), "give the folder of an image with -D");
    throw;
  }
}

std::string read_listed(int fd, const image::FileSummary& file) {
  if (file.size() > kMaxRecordFileBytes)
    throw Error(Fault::image, fmt::format("{} is larger than a file of records can be", file.name()), kAnotherCopy);
  std::string bytes(file.size(), '\0');
  for (size_t used = 0; used < bytes.size();) {
    const size_t n = sys::pread_some(fd, bytes.data() + used, bytes.size() - used, used);
    if (n == 0) throw_damaged(file.name(), used, "the file became shorter while it was read");
    used += n;
  }
  return bytes;
}

// The checksum of the file says that it is damaged, its records say where: they are asked first.
void find_damage(const std::string& bytes, const image::FileSummary& file, uint64_t computed) {
  RecordReader reader(bytes, file.name());
  while (reader.next_type()) reader.read_any();
  throw_damaged(file.name(), 0,
                fmt::format("checksum of the file differs from the inventory's ({:016x}, computed {:016x})",
                            file.checksum(), computed));
}

}  // namespace

struct ImageReader::Impl {
  std::string directory;
  std::shared_ptr<const ReceivedImage> received;  // or:
  std::shared_ptr<FarImage> far;                  // or:
  UniqueFd dir;
  std::optional<UniqueFd> commit;  // DIR/.commit: an image whose files have not all moved into DIR
  image::Inventory inventory;
  std::string image_id;
  std::map<std::string, const image::FileSummary*> files;
  std::set<std::string> read;  // files that were asked for

  explicit Impl(const ImagePlace& place);
  std::optional<UniqueFd> open_file(const std::string& name) const;
  UniqueFd open_inventory();
  void read_inventory();
  const image::FileSummary& summary(const std::string& name) const;
  UniqueFd open_listed(const image::FileSummary& file) const;
  PageFile open_pages(const image::FileSummary& file) const;
  void check_id(const std::string& name, const std::string& id) const;
};

ImageReader::Impl::Impl(const ImagePlace& place)
    : directory(place.directory), received(place.received), far(place.far) {
  if (!received && !far) {
    dir = open_folder(directory);
    warn_of_others(dir.get(), directory);
  }
  read_inventory();
  if (received && received->count() != static_cast<size_t>(inventory.files_size()) + 1)
    throw Error(
        Fault::image,
        fmt::format("the stream has {} files, its inventory lists {}", received->count() - 1, inventory.files_size()),
        kAnotherCopy);
  for (const auto& file : inventory.files()) {
    if (!is_valid_file_name(file.name()) || file.name() == kInventoryName)
      throw_damaged(kInventoryName, kHeaderBytes, fmt::format("\"{}\" is no name for a file of an image", file.name()));
    if (!files.emplace(file.name(), &file).second)
      throw_damaged(kInventoryName, kHeaderBytes, fmt::format("{} is listed twice", file.name()));
  }
}

// .commit first: while it holds a file, that file is the new image's, and one of the same name in DIR is the old one's.
std::optional<UniqueFd> ImageReader::Impl::open_file(const std::string& name) const {
  if (received) return received->open(name);
  if (far) return far->open(name);
  if (commit) {
    if (auto fd = open_image_file(commit->get(), name)) return fd;
  }
  return open_image_file(dir.get(), name);
}

// Twice: a writer may publish a new image and remove the old inventory between the two places that are looked at.
UniqueFd ImageReader::Impl::open_inventory() {
  if (far) return std::move(*open_file(kInventoryName));
  if (received) {
    if (auto fd = open_file(kInventoryName)) return std::move(*fd);
    throw Error(Fault::image, "the stream holds no inventory", "give the output of mini-criu dump -D -");
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    commit = sys::try_open_at(dir.get(), kCommitName, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (auto fd = open_file(kInventoryName)) return std::move(*fd);
  }
  throw Error(Fault::image, fmt::format("{} holds no complete image: {} is missing", directory, kInventoryName),
              "the dump failed or was interrupted, or this is another folder: check -D, or dump again");
}

void ImageReader::Impl::read_inventory() {
  RecordReader reader(open_inventory(), kInventoryName);
  image_id = reader.image_id();
  if (far) far->require_id(image_id);
  reader.read_into(inventory);
  if (reader.next_type()) throw_damaged(kInventoryName, reader.offset(), "more than one record");
  if (inventory.format_version() != reader.version())
    throw_damaged(kInventoryName, kHeaderBytes, "the format version differs from the header's");
}

const image::FileSummary& ImageReader::Impl::summary(const std::string& name) const {
  const auto found = files.find(name);
  if (found == files.end()) throw Error(Fault::image, fmt::format("the image has no file {}", name), kAnotherCopy);
  return *found->second;
}

UniqueFd ImageReader::Impl::open_listed(const image::FileSummary& file) const {
  auto fd = open_file(file.name());
  if (!fd)
    throw Error(Fault::image, fmt::format("{} is missing, though the inventory lists it", file.name()), kAnotherCopy);
  const auto size = static_cast<uint64_t>(sys::stat_fd(fd->get()).st_size);
  if (size != file.size())
    throw_damaged(file.name(), std::min(size, file.size()),
                  fmt::format("the file has {} bytes, the inventory lists {}", size, file.size()));
  return std::move(*fd);
}

PageFile ImageReader::Impl::open_pages(const image::FileSummary& file) const {
  if (far) return far->open_pages(file.name(), file.size());
  return PageFile(open_listed(file));
}

void ImageReader::Impl::check_id(const std::string& name, const std::string& id) const {
  if (id == image_id) return;
  throw Error(Fault::image, fmt::format("{} belongs to another image than {}", name, kInventoryName),
              "files of several images lie mixed in the folder, or a dump replaced the image meanwhile: try again, or "
              "use another copy");
}

ImagePlace::ImagePlace(std::shared_ptr<FarImage> image) : directory(image->name()), far(std::move(image)) {}

ImageReader::ImageReader(const ImagePlace& place) : impl_(std::make_unique<Impl>(place)) {}
ImageReader::~ImageReader() = default;
const image::Inventory& ImageReader::inventory() const {
  return impl_->inventory;
}
bool ImageReader::has(const std::string& name) const {
  return impl_->files.contains(name);
}
bool ImageReader::may_release() const {
  return impl_->received != nullptr || impl_->far != nullptr;
}
const std::string& ImageReader::id() const {
  return impl_->image_id;
}
FarImage* ImageReader::far() const {
  return impl_->far.get();
}
const std::string& ImageReader::directory() const {
  return impl_->directory;
}

RecordReader ImageReader::records(const std::string& name) const {
  const image::FileSummary& file = impl_->summary(name);
  const UniqueFd fd = impl_->open_listed(file);
  impl_->check_id(name, read_header(fd.get(), name).image_id);
  impl_->read.insert(name);
  std::string bytes = read_listed(fd.get(), file);
  const uint64_t computed = checksum_of(bytes.data(), bytes.size());
  if (computed != file.checksum()) find_damage(bytes, file, computed);
  return RecordReader(std::move(bytes), name);
}

PageFile ImageReader::pages(const std::string& name) const {
  const image::FileSummary& file = impl_->summary(name);
  PageFile pages = impl_->open_pages(file);
  impl_->check_id(name, read_page_header(pages.get(), name).image_id);
  impl_->read.insert(name);
  return pages;
}

UniqueFd ImageReader::as_it_is(const std::string& name) const {
  if (name == kInventoryName) return impl_->open_inventory();
  return impl_->open_listed(impl_->summary(name));
}

void ImageReader::check_unread() const {
  for (const auto& [name, file] : impl_->files) {
    if (impl_->read.contains(name)) continue;
    if (file->checksum() == 0)
      pages(name);
    else
      records(name);
  }
}

}  // namespace mcr::images
