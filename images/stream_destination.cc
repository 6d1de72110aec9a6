// The files of an image as one stream. A file of pages is written into a memfd, of which only a window has content:
// what is stored goes out and becomes a hole.
#include <algorithm>
#include <map>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "images/archive_writer.h"
#include "images/destination.h"
#include "images/format.h"

namespace mcr::images {
namespace {

constexpr uint64_t kPage = 4096;  // windows of a file begin at such a multiple

class Stream : public Destination {
 public:
  explicit Stream(ByteSink& sink)
      : sink_(sink), archive_([&sink](const void* data, size_t size) { sink.write(data, size); }) {}

  RecordWriter records(const std::string& name) override {
    const uint32_t file = begin(name);
    return RecordWriter([this, file](const void* data, size_t size) { archive_.append(file, data, size); }, name,
                        image_id_);
  }
  void added(RecordWriter& finished) override { archive_.end_file(files_.at(finished.name()).number); }

  UniqueFd pages(const std::string& name) override;
  void stored(const std::string& name, int fd, uint64_t end) override { send(name, fd, end / kPage * kPage); }
  uint64_t added_pages(const std::string& name, int fd) override;
  uint64_t commit(const image::Inventory& inventory, const std::set<std::string>& names) override;

 private:
  struct File {
    uint32_t number = 0;
    uint64_t sent = 0;
  };
  void send(const std::string& name, int fd, uint64_t end);
  uint32_t begin(const std::string& name) {
    const uint32_t number = archive_.begin(name);
    files_[name] = {number, 0};
    return number;
  }

  ByteSink& sink_;
  ArchiveWriter archive_;
  std::string image_id_ = random_image_id();
  std::map<std::string, File> files_;
};

UniqueFd Stream::pages(const std::string& name) {
  begin(name);
  UniqueFd fd = sys::make_memfd(name);
  sys::write_text(fd.get(), encode_header(FileKind::pages, image_id_));
  return fd;
}

void Stream::send(const std::string& name, int fd, uint64_t end) {
  File& file = files_.at(name);
  const Step step("send {}", name);
  while (file.sent < end) {
    const uint64_t bytes = std::min(end - file.sent, kWindowBytes);
    {
      const sys::Window window(fd, file.sent, bytes);
      archive_.append(file.number, window.data(), bytes);
    }
    sys::punch_hole(fd, file.sent, bytes);
    file.sent += bytes;
  }
}

uint64_t Stream::added_pages(const std::string& name, int fd) {
  const auto size = static_cast<uint64_t>(sys::stat_fd(fd).st_size);
  send(name, fd, size);
  archive_.end_file(files_.at(name).number);
  return size;
}

uint64_t Stream::commit(const image::Inventory& inventory, const std::set<std::string>& names) {
  for (const auto& [name, file] : files_)
    if (!names.contains(name)) throw Error(Fault::internal, fmt::format("{} was not entered into the image", name));
  RecordWriter writer = records(kInventoryName);
  writer.append(inventory);
  writer.finish();
  added(writer);
  archive_.finish();
  sink_.complete();
  return writer.size();
}

}  // namespace

std::unique_ptr<Destination> stream_destination(ByteSink& stream) {
  return std::make_unique<Stream>(stream);
}

}  // namespace mcr::images
