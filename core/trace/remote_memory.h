// Another process' memory, also where its own protections forbid the access: /proc/PID/mem reads and writes through
// them as a debugger does (FOLL_FORCE), making a private copy of a page where needed. Bytes; throws Error.
#pragma once

#include <span>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"

namespace mcr::trace {

class RemoteMemory {
 public:
  explicit RemoteMemory(HostPid pid);
  void read(RemoteAddr from, std::span<std::byte> to) const;
  void write(RemoteAddr to, std::span<const std::byte> from) const;
  bool try_read(RemoteAddr from, std::span<std::byte> to) const;
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

}  // namespace mcr::trace
