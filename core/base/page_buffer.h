// Memory that begins at a page. The kernel copies to and from it with REP MOVSB, which takes three times as long where
// the two sides begin at different places of a page; what malloc(3) gives begins 16 bytes behind one.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace mcr {

template <typename T>
struct PageAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{4096};

  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kAlignment)); }
  void deallocate(T* memory, size_t) noexcept { ::operator delete(memory, kAlignment); }
  bool operator==(const PageAllocator&) const = default;
};

using PageBuffer = std::vector<std::byte, PageAllocator<std::byte>>;

}  // namespace mcr
