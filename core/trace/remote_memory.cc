#include "core/trace/remote_memory.h"

#include <fcntl.h>

#include "core/base/error.h"
#include "core/sys/file.h"

namespace mcr::trace {

RemoteMemory::RemoteMemory(HostPid pid) : fd_(sys::open(fmt::format("/proc/{}/mem", pid), O_RDWR)) {}

void RemoteMemory::read(RemoteAddr from, std::span<std::byte> to) const {
  const Step step("read {} bytes of memory at {}", to.size(), from);
  for (size_t done = 0; done < to.size();) {
    const size_t n = sys::pread_some(fd_.get(), to.data() + done, to.size() - done, from.get() + done);
    if (n == 0) throw Error(Fault::system, "the address space is gone");
    done += n;
  }
}

void RemoteMemory::write(RemoteAddr to, std::span<const std::byte> from) const {
  const Step step("write {} bytes of memory at {}", from.size(), to);
  sys::pwrite_fully(fd_.get(), from.data(), from.size(), to.get());
}

bool RemoteMemory::try_read(RemoteAddr from, std::span<std::byte> to) const {
  try {
    read(from, to);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace mcr::trace
