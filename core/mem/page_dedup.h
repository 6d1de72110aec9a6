// Which pages were stored before: a table of hashes, bounded, so that what lies far apart may be stored again. A hash
// only says where to look; who finds a page here compares it with what is stored. Thread-safe.
#pragma once

#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace mcr::mem {

struct StoredPage {
  uint64_t offset = 0;
  uint32_t stream = 0;
  uint32_t stored = 0;  // bytes that it takes there; 0: it was seen, but cannot be read by itself
};

class PageDedup {
 public:
  // `pages`: how many will come, at most.
  explicit PageDedup(uint64_t pages) {
    constexpr uint64_t kMost = 128 << 10;  // 4 MiB
    size_t entries = 256;
    while (entries < kMost && entries < 2 * pages) entries *= 2;
    entries_.resize(entries);
  }
  std::optional<StoredPage> find(uint64_t hash) const {
    const std::scoped_lock lock(mutex_);
    const Entry& entry = entries_[hash & (entries_.size() - 1)];
    if (!entry.used || entry.hash != hash) return std::nullopt;
    return entry.page;
  }
  void note(uint64_t hash, const StoredPage& page) {
    const std::scoped_lock lock(mutex_);
    entries_[hash & (entries_.size() - 1)] = {hash, page, true};
  }

 private:
  struct Entry {
    uint64_t hash = 0;
    StoredPage page;
    bool used = false;
  };
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
};

inline bool is_zero(std::span<const std::byte> bytes) {
  return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace mcr::mem
