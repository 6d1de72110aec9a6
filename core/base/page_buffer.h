// Memory that begins at a page. The kernel copies to and from it with REP MOVSB, which takes three times as long where
// the two sides begin at different places of a page; what malloc(3) gives begins 16 bytes behind one. Zeros at first.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace mcr {

class PageBuffer {
 public:
  PageBuffer() = default;
  explicit PageBuffer(size_t size) { resize(size); }
  PageBuffer(PageBuffer&& other) noexcept { swap(other); }
  PageBuffer& operator=(PageBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() { return memory_.get(); }
  const std::byte* data() const { return memory_.get(); }
  size_t size() const { return size_; }
  std::byte* begin() { return data(); }
  std::byte* end() { return data() + size_; }
  const std::byte* begin() const { return data(); }
  const std::byte* end() const { return data() + size_; }

  // Keeps what there is; what is added is zeros.
  void resize(size_t size) {
    if (size > room_) {
      std::unique_ptr<std::byte, Free> memory(static_cast<std::byte*>(::operator new(size, kAlignment)));
      if (size_ != 0) std::memcpy(memory.get(), memory_.get(), size_);
      memory_.swap(memory);
      room_ = size;
    }
    if (size > size_) std::memset(memory_.get() + size_, 0, size - size_);
    size_ = size;
  }
  void swap(PageBuffer& other) noexcept {
    memory_.swap(other.memory_);
    std::swap(size_, other.size_);
    std::swap(room_, other.room_);
  }

 private:
  static constexpr std::align_val_t kAlignment{4096};
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
  };

  std::unique_ptr<std::byte, Free> memory_;
  size_t size_ = 0, room_ = 0;
};

}  // namespace mcr
