// Memory of ours that pages are copied to while a program stands still, to be stored when it runs again. It is touched
// ahead, as the first touch takes longer than the copying.
#pragma once

#include <atomic>
#include <optional>
#include <span>
#include <vector>

#include "core/mem/page_source.h"
#include "core/trace/remote_memory.h"

namespace mcr::mem {

// Of one process; valid as long as the room.
class HeldPages {
 public:
  // All of it must be held.
  void read(uint64_t address, std::span<std::byte> to) const;
  const std::vector<PageSource>& sources() const { return sources_; }

 private:
  friend class PageRoom;
  std::vector<PageSource> sources_;     // in address order
  std::vector<const std::byte*> kept_;  // where each lies here
};

class PageRoom {
 public:
  explicit PageRoom(uint64_t bytes);
  ~PageRoom();
  PageRoom(const PageRoom&) = delete;
  PageRoom& operator=(const PageRoom&) = delete;
  // nullopt: there is not enough left. Throws when a page cannot be read.
  std::optional<HeldPages> take(const trace::RemoteMemory& memory, std::vector<PageSource> sources);

 private:
  std::byte* memory_ = nullptr;
  uint64_t bytes_, used_ = 0;
};

}  // namespace mcr::mem
