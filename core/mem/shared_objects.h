// Anonymous shared memory of a tree while it is dumped: each object once, however many processes have it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <utility>

namespace mcr::mem {

class SharedObjects {
 public:
  // Returns its number in the tree, from 1 on. `is_new`: nobody had it before, so the caller stores its content.
  uint32_t enter(dev_t device, uint64_t inode, bool& is_new) {
    const auto next = static_cast<uint32_t>(ids_.size() + 1);
    const auto [entry, is_first] = ids_.try_emplace({device, inode}, next);
    is_new = is_first;
    return entry->second;
  }

 private:
  std::map<std::pair<dev_t, uint64_t>, uint32_t> ids_;
};

}  // namespace mcr::mem
