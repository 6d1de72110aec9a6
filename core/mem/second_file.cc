#include "core/mem/second_file.h"

#include "core/base/error.h"
#include "core/sys/file.h"

namespace mcr::mem {
namespace {

constexpr const char* kName = "img-0.img";

}  // namespace

void SecondFile::prepare() {
  if (fd_.valid()) return;
  fd_ = writer_.pages(kName);
  sys::truncate_fd(fd_.get(), images::kPageFileHeader);
}

StoredPage SecondFile::append(std::span<const std::byte> bytes) {
  StoredPage place{0, 0, static_cast<uint32_t>(bytes.size())};
  {
    const std::scoped_lock lock(mutex_);
    place.offset = end_;
    end_ += bytes.size();
  }
  sys::pwrite_fully(fd_.get(), bytes.data(), bytes.size(), place.offset);
  writer_.stored(kName, fd_.get(), place.offset + bytes.size());
  return place;
}

void SecondFile::finish(image::Inventory& inventory) {
  if (!fd_.valid()) return;
  writer_.add_pages(kName, fd_.get());
  inventory.add_streams(kName);
}

}  // namespace mcr::mem
