#include "images/page_file.h"

#include "core/sys/file.h"
#include "images/far_image.h"

namespace mcr::images {

PageFile::PageFile(UniqueFd fd) : fd_(std::move(fd)) {}
PageFile::PageFile(std::shared_ptr<FarFile> far) : far_(std::move(far)) {}

int PageFile::get() const {
  return far_ ? far_->get() : fd_.get();
}

uint64_t PageFile::size() const {
  return static_cast<uint64_t>(sys::stat_fd(get()).st_size);
}

size_t PageFile::read(uint64_t offset, void* data, size_t bytes) const {
  return far_ ? far_->read(offset, data, bytes) : sys::pread_some(fd_.get(), data, bytes, offset);
}

void PageFile::bring(uint64_t offset, uint64_t bytes) const {
  if (far_) far_->bring(offset, bytes);
}

}  // namespace mcr::images
