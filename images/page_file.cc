#include "images/page_file.h"

#include "core/sys/file.h"
#include "images/far_image.h"

namespace mcr::images {

namespace {

uint64_t size_of(int fd) {
  return static_cast<uint64_t>(sys::stat_fd(fd).st_size);
}

}  // namespace

PageFile::PageFile(UniqueFd fd) : fd_(std::move(fd)), size_(size_of(fd_.get())) {}
PageFile::PageFile(std::shared_ptr<FarFile> far) : far_(std::move(far)), size_(size_of(far_->get())) {}

int PageFile::get() const {
  return far_ ? far_->get() : fd_.get();
}

size_t PageFile::read(uint64_t offset, void* data, size_t bytes) const {
  return far_ ? far_->read(offset, data, bytes) : sys::pread_some(fd_.get(), data, bytes, offset);
}

void PageFile::bring(uint64_t offset, uint64_t bytes) const {
  if (far_) far_->bring(offset, bytes);
}

}  // namespace mcr::images
