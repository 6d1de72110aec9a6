#include "core/sys/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <climits>
#include <memory>
#include <span>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

// What fails for want of descriptors or memory of our own says nothing about the file.
void refuse_shortage(const char* call, const std::string& path) {
  if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) throw_errno(fmt::format("{} {}", call, path));
}

bool is_gone_or_closed(int code) {
  return code == ENOENT || code == ESRCH || code == ENOTDIR || code == EACCES || code == EPERM;
}

}  // namespace

UniqueFd open(const std::string& path, int flags, mode_t mode) {
  return open_at(AT_FDCWD, path, flags, mode);
}

UniqueFd open_at(int dir, const std::string& path, int flags, mode_t mode) {
  return UniqueFd(check(::openat(dir, path.c_str(), flags | O_CLOEXEC, mode), "open " + path));
}

std::optional<UniqueFd> try_open_at(int dir, const std::string& path, int flags, mode_t mode) {
  const int fd = ::openat(dir, path.c_str(), flags | O_CLOEXEC, mode);
  if (fd >= 0) return UniqueFd(fd);
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  throw_errno("open " + path);
}

std::optional<UniqueFd> probe_open(const std::string& path, int flags, int& code, mode_t mode) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd >= 0) return UniqueFd(fd);
  code = errno;
  refuse_shortage("open", path);
  return std::nullopt;
}

// read(2) until `buffer` is full or the file at its end: files of /proc give a page or less at a time.
static size_t read_much(int fd, std::span<char> buffer, const std::string& path) {
  size_t used = 0;
  while (used < buffer.size()) {
    const ssize_t n = ::read(fd, buffer.data() + used, buffer.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (check(n, "read " + path) == 0) break;
    used += static_cast<size_t>(n);
  }
  return used;
}

constexpr size_t kPiece = 256 * 1024;

// Most files of /proc are smaller than the first buffer. No memory is cleared that read(2) fills.
static std::string read_to_end(int fd, const std::string& path) {
  char first[8192];
  size_t n = read_much(fd, first, path);
  std::string text(first, n);
  if (n < sizeof first) return text;
  const auto buffer = std::make_unique_for_overwrite<char[]>(kPiece);
  do {
    n = read_much(fd, {buffer.get(), kPiece}, path);
    text.append(buffer.get(), n);
  } while (n == kPiece);
  return text;
}

void read_pieces(const std::string& path, const std::function<void(std::string_view)>& take) {
  const UniqueFd fd = open(path, O_RDONLY);
  const auto buffer = std::make_unique_for_overwrite<char[]>(kPiece);
  for (size_t n = kPiece; n == kPiece;) {
    n = read_much(fd.get(), {buffer.get(), kPiece}, path);
    take({buffer.get(), n});
  }
}

std::string read_text(const std::string& path) {
  return read_text_at(AT_FDCWD, path);
}

std::string read_text_at(int dir, const std::string& path) {
  const UniqueFd fd = open_at(dir, path, O_RDONLY);
  return read_to_end(fd.get(), path);
}

std::optional<std::string> try_read_text(const std::string& path) {
  int code = 0;
  const auto fd = probe_open(path, O_RDONLY, code);
  if (!fd) return std::nullopt;
  try {
    return read_to_end(fd->get(), path);
  } catch (const Error& error) {
    if (error.code() == ENOMEM) throw;
    return std::nullopt;
  }
}

std::optional<std::string> try_read_record_at(int dir, const std::string& path) {
  const int fd = ::openat(dir, path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return refuse_shortage("open", path), std::nullopt;
  const UniqueFd file(fd);
  char first[4096];
  const ssize_t n = ::read(fd, first, sizeof first);
  if (n < 0) return refuse_shortage("read", path), std::nullopt;
  std::string text(first, static_cast<size_t>(n));
  if (text.size() < sizeof first) return text;
  return text + read_to_end(fd, path);
}

size_t read_some(int fd, void* data, size_t size) {
  for (;;) {
    const ssize_t n = ::read(fd, data, size);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) throw_errno("read");
  }
}

size_t pread_some(int fd, void* data, size_t size, uint64_t offset) {
  for (;;) {
    const ssize_t n = ::pread(fd, data, size, static_cast<off_t>(offset));
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) throw_errno("pread");
  }
}

size_t pread_whole(int fd, void* data, size_t size, uint64_t offset) {
  size_t done = 0;
  while (done < size) {
    const size_t n = pread_some(fd, static_cast<char*>(data) + done, size - done, offset + done);
    if (n == 0) break;
    done += n;
  }
  return done;
}

void read_exactly(int fd, void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    const size_t n = read_some(fd, static_cast<char*>(data) + done, size - done);
    if (n == 0) throw Error(Fault::system, fmt::format("read: end of file after {} of {} bytes", done, size));
    done += n;
  }
}

void write_fully(int fd, const void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = ::write(fd, static_cast<const char*>(data) + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    done += static_cast<size_t>(check(n, "write"));
  }
}

void write_patiently(int fd, const void* data, size_t size) {
  constexpr int kTries = 200;
  constexpr timespec kPause{0, 10'000'000};
  size_t done = 0;
  for (int failures = 0; done < size;) {
    const ssize_t n = ::write(fd, static_cast<const char*>(data) + done, size - done);
    if (n > 0) done += static_cast<size_t>(n);
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    const bool may_pass = n == 0 || errno == ENOMEM || errno == EAGAIN || errno == EIO;
    if (!may_pass || ++failures > kTries) throw_errno("write");
    ::nanosleep(&kPause, nullptr);
  }
}

void pwrite_fully(int fd, const void* data, size_t size, uint64_t offset) {
  for (size_t done = 0; done < size;) {
    const ssize_t n =
        ::pwrite(fd, static_cast<const char*>(data) + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    done += static_cast<size_t>(check(n, "pwrite"));
  }
}

void write_file(const std::string& path, std::string_view text) {
  const UniqueFd fd = open(path, O_WRONLY);
  const ssize_t n = check(::write(fd.get(), text.data(), text.size()), "write " + path);
  if (static_cast<size_t>(n) != text.size()) throw Error(Fault::system, "write " + path + ": short");
}

struct stat stat_fd(int fd) {
  struct stat st {};
  check(::fstat(fd, &st), "fstat");
  return st;
}

std::optional<struct stat> try_stat(const std::string& path, bool follow) {
  struct stat st {};
  if (::fstatat(AT_FDCWD, path.c_str(), &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) == 0) return st;
  refuse_shortage("stat", path);
  return std::nullopt;
}

std::optional<struct stat> try_stat_at(int dir, const std::string& path, bool follow) {
  struct stat st {};
  if (::fstatat(dir, path.c_str(), &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) == 0) return st;
  refuse_shortage("stat", path);
  return std::nullopt;
}

std::optional<std::string> try_read_link_at(int dir, const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = ::readlinkat(dir, path.c_str(), target, sizeof target);
  if (n < 0) return refuse_shortage("readlink", path), std::nullopt;
  return std::string(target, static_cast<size_t>(n));
}

std::optional<std::string> try_read_link(const std::string& path) {
  return try_read_link_at(AT_FDCWD, path);
}

std::string read_link(const std::string& path) {
  auto target = try_read_link(path);
  if (!target) throw_errno("readlink " + path);
  return *target;
}

std::string read_link_at(int fd) {
  std::string target(PATH_MAX, '\0');
  target.resize(static_cast<size_t>(check(::readlinkat(fd, "", target.data(), target.size()), "readlinkat")));
  return target;
}

namespace {

struct CloseFolder {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

// A folder of a process that ends meanwhile ends early too: with an error, not with fewer names.
std::vector<std::string> names_of(DIR* dir, const std::string& path) {
  std::vector<std::string> names;
  for (errno = 0;; errno = 0) {
    const dirent* entry = ::readdir(dir);
    if (!entry && errno != 0) throw_errno("list folder " + path);
    if (!entry) return names;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
}

}  // namespace

std::vector<std::string> list_directory(const std::string& path) {
  const Folder folder(::opendir(path.c_str()));
  if (!folder) throw_errno("open folder " + path);
  return names_of(folder.get(), path);
}

std::optional<std::vector<std::string>> try_list_directory(const std::string& path) {
  try {
    return list_directory(path);
  } catch (const Error& error) {
    if (is_gone_or_closed(error.code())) return std::nullopt;
    throw;
  }
}

std::vector<std::string> list_directory_fd(int dir) {
  UniqueFd copy = open_at(dir, ".", O_RDONLY | O_DIRECTORY);
  const Folder folder(::fdopendir(copy.get()));
  if (!folder) throw_errno("open folder");
  (void)copy.release();
  return names_of(folder.get(), ".");
}

std::optional<std::vector<std::string>> try_list_directory_fd(int dir) {
  try {
    return list_directory_fd(dir);
  } catch (const Error& error) {
    if (is_gone_or_closed(error.code())) return std::nullopt;
    throw;
  }
}

void make_directory_at(int dir, const std::string& name, mode_t mode) {
  check(::mkdirat(dir, name.c_str(), mode), "make folder " + name);
}

bool try_make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return true;
  if (errno == EEXIST) return false;
  throw_errno("make folder " + path);
}

void rename_at(int from_dir, const std::string& from, int to_dir, const std::string& to) {
  check(::renameat(from_dir, from.c_str(), to_dir, to.c_str()), "rename " + from + " to " + to);
}

void unlink_at(int dir, const std::string& name, bool is_directory) {
  check(::unlinkat(dir, name.c_str(), is_directory ? AT_REMOVEDIR : 0), "remove " + name);
}

bool try_unlink_at(int dir, const std::string& name, bool is_directory) {
  return ::unlinkat(dir, name.c_str(), is_directory ? AT_REMOVEDIR : 0) == 0;
}

void truncate_fd(int fd, uint64_t size) {
  check(::ftruncate(fd, static_cast<off_t>(size)), "ftruncate");
}

uint64_t seek(int fd, int64_t offset, int whence) {
  return static_cast<uint64_t>(check(::lseek(fd, offset, whence), "lseek"));
}

std::optional<uint64_t> try_seek(int fd, int64_t offset, int whence) {
  const off_t at = ::lseek(fd, offset, whence);
  if (at < 0) return std::nullopt;
  return static_cast<uint64_t>(at);
}

void sync_fd(int fd) {
  check(::fsync(fd), "fsync");
}

bool try_lock_exclusive(int fd) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  throw_errno("flock");
}

UniqueFd duplicate(int fd) {
  return UniqueFd(check(::fcntl(fd, F_DUPFD_CLOEXEC, 0), "duplicate a descriptor"));
}
UniqueFd duplicate_to(int fd, int number) {
  return UniqueFd(check(::dup3(fd, number, O_CLOEXEC), fmt::format("dup3 to {}", number)));
}
bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}
int get_status_flags(int fd) {
  return check(::fcntl(fd, F_GETFL), "fcntl(F_GETFL)");
}
void set_status_flags(int fd, int flags) {
  check(::fcntl(fd, F_SETFL, flags), "fcntl(F_SETFL)");
}
int get_pipe_size(int fd) {
  return check(::fcntl(fd, F_GETPIPE_SZ), "fcntl(F_GETPIPE_SZ)");
}
void set_pipe_size(int fd, int size) {
  check(::fcntl(fd, F_SETPIPE_SZ, size), "fcntl(F_SETPIPE_SZ)");
}

std::optional<int> try_set_pipe_size(int fd, int size) {
  const int got = ::fcntl(fd, F_SETPIPE_SZ, size);
  return got < 0 ? std::nullopt : std::optional(got);
}
int bytes_readable(int fd) {
  int bytes = 0;
  check(::ioctl(fd, FIONREAD, &bytes), "ioctl(FIONREAD)");
  return bytes;
}

size_t tee(int from, int to, size_t size) {
  const ssize_t n = ::tee(from, to, size, SPLICE_F_NONBLOCK);
  if (n < 0 && errno == EAGAIN) return 0;
  return static_cast<size_t>(check(n, "tee"));
}

Pipe make_pipe(int flags) {
  int ends[2];
  check(::pipe2(ends, flags), "pipe2");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

short poll_now(int fd, short events) {
  pollfd p{fd, events, 0};
  check(::poll(&p, 1, 0), "poll");
  return p.revents;
}

bool wait_readable(int fd, int milliseconds) {
  pollfd p{fd, POLLIN, 0};
  for (;;) {
    const int n = ::poll(&p, 1, milliseconds);
    if (n >= 0) return n > 0;
    if (errno != EINTR) throw_errno("poll");
  }
}

UniqueFd make_memfd(const std::string& name) {
  return UniqueFd(check(::memfd_create(name.c_str(), MFD_CLOEXEC), "memfd_create"));
}

int terminal_session(int fd) {
  int session = -1;
  if (::ioctl(fd, TIOCGSID, &session) != 0) return -1;
  return session;
}

bool is_terminal(int fd) {
  return ::isatty(fd) == 1;
}

FileMapping::FileMapping(int fd, size_t size, bool populate) : size_(size) {
  if (size == 0) return;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | (populate ? MAP_POPULATE : 0), fd, 0);
  if (address == MAP_FAILED) throw_errno("map a file");
  address_ = address;
}
FileMapping::FileMapping(FileMapping&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}
FileMapping& FileMapping::operator=(FileMapping&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}
FileMapping::~FileMapping() {
  if (address_) ::munmap(address_, size_);
}

}  // namespace mcr::sys
