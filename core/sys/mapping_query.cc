#include "core/sys/mapping_query.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/unique_fd.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

// linux/fs.h, 6.11
struct Query {
  uint64_t size, flags, address;
  uint64_t start, end, vma_flags, page_size, offset, inode;
  uint32_t device_major, device_minor;
  uint32_t name_size, build_id_size;
  uint64_t name, build_id;
};
constexpr unsigned long kProcmapQuery = _IOWR('f', 17, Query);

}  // namespace

std::optional<MappedFile> file_mapped_at(HostPid pid, uint64_t address) {
  int code = 0;
  const auto maps = probe_open(fmt::format("/proc/{}/maps", pid), O_RDONLY, code);
  if (!maps) return std::nullopt;
  Query query{};
  query.size = sizeof query;
  query.address = address;
  if (::ioctl(maps->get(), kProcmapQuery, &query) < 0) return std::nullopt;
  return MappedFile{query.device_major, query.device_minor, query.inode};
}

std::optional<MappedFile> mapped_as(int fd) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  void* address = ::mmap(nullptr, page, PROT_READ, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) return std::nullopt;
  const auto file = file_mapped_at(HostPid(::getpid()), reinterpret_cast<uint64_t>(address));
  ::munmap(address, page);
  return file;
}

}  // namespace mcr::sys
