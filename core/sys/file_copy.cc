#include "core/sys/file_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

// What copy_file_range(2) cannot do between these two file systems.
void copy_by_reading(int from, int to, off_t offset, off_t end) {
  std::vector<char> buffer(1 << 20);
  while (offset < end) {
    const auto wanted = std::min<off_t>(static_cast<off_t>(buffer.size()), end - offset);
    const ssize_t n = check(::pread(from, buffer.data(), static_cast<size_t>(wanted), offset), "read a file to copy");
    if (n == 0) return;  // it has become shorter
    for (ssize_t done = 0; done < n;)
      done += check(::pwrite(to, buffer.data() + done, static_cast<size_t>(n - done), offset + done), "write a copy");
    offset += n;
  }
}

void copy_piece(int from, int to, off_t offset, off_t end) {
  off_t source = offset, target = offset;
  while (source < end) {
    const ssize_t n = ::copy_file_range(from, &source, to, &target, static_cast<size_t>(end - source), 0);
    if (n == 0) return;
    if (n > 0 || errno == EINTR) continue;
    if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) throw_errno("copy a file");
    return copy_by_reading(from, to, source, end);
  }
}

}  // namespace

void copy_content(int from, int to) {
  struct stat status {};
  check(::fstat(from, &status), "fstat");
  check(::ftruncate(to, 0), "make a copy empty");
  check(::ftruncate(to, status.st_size), "give a copy its size");
  for (off_t at = 0; at < status.st_size;) {
    const off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    const off_t begin = data < 0 ? at : data;
    const off_t hole = data < 0 ? -1 : ::lseek(from, begin, SEEK_HOLE);
    const off_t end = hole < 0 ? status.st_size : hole;
    copy_piece(from, to, begin, end);
    at = end;
  }
}

}  // namespace mcr::sys
