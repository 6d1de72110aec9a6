#include <map>
#include <mutex>

#include "core/base/error.h"
#include "images/destination.h"
#include "images/format.h"

namespace mcr::images {

struct ImageWriter::Impl {
  std::string directory;
  bool is_stream = false;
  std::unique_ptr<Destination> destination;
  image::Inventory listed;  // only `files` is used
  uint64_t bytes = 0;
  Progress* progress = nullptr;
  std::map<std::string, uint64_t> counted;  // bytes of files of pages that the progress has
  std::mutex entering;                      // `listed`, `bytes` and `counted`

  void enter(const std::string& name, uint64_t size, uint64_t checksum);
  void count(const std::string& name, uint64_t end);
};

void ImageWriter::Impl::enter(const std::string& name, uint64_t size, uint64_t checksum) {
  const std::lock_guard lock(entering);
  auto* file = listed.add_files();
  file->set_name(name);
  file->set_size(size);
  file->set_checksum(checksum);
  bytes += size;
}

void ImageWriter::Impl::count(const std::string& name, uint64_t end) {
  if (!progress) return;
  const std::lock_guard lock(entering);
  uint64_t& before = counted.try_emplace(name, kPageFileHeader).first->second;
  if (end <= before) return;
  progress->done += end - before;
  before = end;
}

ImageWriter::ImageWriter(const std::string& directory, bool sync) : impl_(std::make_unique<Impl>()) {
  impl_->directory = directory;
  impl_->destination = folder_destination(directory, sync);
}

ImageWriter::ImageWriter(ByteSink& stream) : impl_(std::make_unique<Impl>()) {
  impl_->directory.push_back('-');
  impl_->is_stream = true;
  impl_->destination = stream_destination(stream);
}

ImageWriter::~ImageWriter() = default;

static void check_name(const std::string& name) {
  if (!is_valid_file_name(name) || name == kInventoryName)
    throw Error(Fault::internal, fmt::format("\"{}\" is no name for a file of an image", name));
}

RecordWriter ImageWriter::records(const std::string& name) {
  check_name(name);
  return impl_->destination->records(name);
}

UniqueFd ImageWriter::pages(const std::string& name) {
  check_name(name);
  const Step step("write {}", name);
  return impl_->destination->pages(name);
}

void ImageWriter::stored(const std::string& name, int fd, uint64_t end) {
  impl_->destination->stored(name, fd, end);
  impl_->count(name, end);
}

void ImageWriter::expect(uint64_t bytes) {
  if (impl_->progress) impl_->progress->total += bytes;
}

void ImageWriter::add(RecordWriter& finished) {
  impl_->destination->added(finished);
  impl_->enter(finished.name(), finished.size(), finished.checksum());
}

void ImageWriter::add_pages(const std::string& name, int fd) {
  const uint64_t size = impl_->destination->added_pages(name, fd);
  impl_->count(name, size);
  impl_->enter(name, size, 0);
}

void ImageWriter::commit(image::Inventory inventory) {
  inventory.set_format_version(kFormatVersion);
  *inventory.mutable_files() = impl_->listed.files();
  std::set<std::string> names;
  for (const auto& file : inventory.files()) names.insert(file.name());
  impl_->bytes += impl_->destination->commit(inventory, names);
}

uint64_t ImageWriter::bytes() const {
  return impl_->bytes;
}
const std::string& ImageWriter::directory() const {
  return impl_->directory;
}
bool ImageWriter::is_stream() const {
  return impl_->is_stream;
}
void ImageWriter::set_progress(Progress* progress) {
  impl_->progress = progress;
}

}  // namespace mcr::images
