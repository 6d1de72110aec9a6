#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/destination.h"
#include "images/format.h"
#include "images/staged_image.h"

namespace mcr::images {
namespace {

class Folder : public Destination {
 public:
  Folder(const std::string& path, bool sync) : directory_(path), staged_(path, sync) {}

  RecordWriter records(const std::string& name) override { return RecordWriter(staged_.create(name), name, image_id_); }
  void added(RecordWriter&) override {}
  UniqueFd pages(const std::string& name) override;
  void stored(const std::string&, int, uint64_t) override {}
  uint64_t added_pages(const std::string&, int fd) override { return static_cast<uint64_t>(sys::stat_fd(fd).st_size); }
  uint64_t commit(const image::Inventory& inventory, const std::set<std::string>& names) override;

 private:
  std::string directory_;
  std::string image_id_ = random_image_id();
  StagedImage staged_;
};

UniqueFd Folder::pages(const std::string& name) {
  UniqueFd fd = staged_.create(name);
  sys::write_text(fd.get(), encode_header(FileKind::pages, image_id_));
  return fd;
}

uint64_t Folder::commit(const image::Inventory& inventory, const std::set<std::string>& names) {
  RecordWriter writer = records(kInventoryName);
  {
    const Step step("image folder {}", directory_);
    writer.append(inventory);
    writer.finish();
  }
  staged_.publish(names);
  return writer.size();
}

}  // namespace

std::unique_ptr<Destination> folder_destination(const std::string& directory, bool sync) {
  return std::make_unique<Folder>(directory, sync);
}

}  // namespace mcr::images
