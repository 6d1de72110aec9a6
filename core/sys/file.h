// Checked file and descriptor calls. Every function throws Error (with errno and the object's name) unless
// its comment names an expected outcome. What fails for want of descriptors or memory (EMFILE, ENFILE, ENOMEM) is
// thrown by all of them, those with try_ and probe_ too. Callable from any thread.
#pragma once

#include <sys/stat.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::sys {

UniqueFd open(const std::string& path, int flags, mode_t mode = 0);              // open(2); O_CLOEXEC is added
UniqueFd open_at(int dir, const std::string& path, int flags, mode_t mode = 0);  // openat(2); O_CLOEXEC is added
// nullopt when the file does not exist (ENOENT, ENOTDIR).
std::optional<UniqueFd> try_open_at(int dir, const std::string& path, int flags, mode_t mode = 0);
// nullopt on any failure; `code` gets errno. For probing.
std::optional<UniqueFd> probe_open(const std::string& path, int flags, int& code, mode_t mode = 0);

std::string read_text(const std::string& path);  // the whole file, to its end
// The whole file, piece by piece as it is read. For /proc/PID/smaps, which may have hundreds of bytes for every page.
void read_pieces(const std::string& path, const std::function<void(std::string_view)>& take);
std::string read_text_at(int dir, const std::string& path);
std::optional<std::string> try_read_text(const std::string& path);  // nullopt when it cannot be opened or read
// A file of /proc that the kernel prints as one record, fdinfo or status: what one read returns is all of it.
std::optional<std::string> try_read_record_at(int dir, const std::string& path);
size_t read_some(int fd, void* data, size_t size);  // 0 at end of file
size_t pread_some(int fd, void* data, size_t size, uint64_t offset);
size_t pread_whole(int fd, void* data, size_t size, uint64_t offset);  // less than `size` at end of file only
void read_exactly(int fd, void* data, size_t size);                    // throws at an early end
void write_fully(int fd, const void* data, size_t size);
// The same for what exists nowhere else: a failure (the kernel lacks memory) is tried again for two seconds.
void write_patiently(int fd, const void* data, size_t size);
void pwrite_fully(int fd, const void* data, size_t size, uint64_t offset);
inline void write_text(int fd, std::string_view text) {
  write_fully(fd, text.data(), text.size());
}
void write_file(const std::string& path, std::string_view text);  // for files of /proc: one write(2)

struct stat stat_fd(int fd);
std::optional<struct stat> try_stat(const std::string& path, bool follow = true);
std::optional<struct stat> try_stat_at(int dir, const std::string& path, bool follow = false);
std::string read_link(const std::string& path);
std::optional<std::string> try_read_link(const std::string& path);
std::optional<std::string> try_read_link_at(int dir, const std::string& path);
std::string read_link_at(int fd);  // of the symbolic link that an O_PATH descriptor leads to
std::vector<std::string> list_directory(const std::string& path);  // without . and ..; unsorted
std::vector<std::string> list_directory_fd(int dir);
// nullopt: it is gone, or goes while it is read (a process that ends), or is not ours to see.
std::optional<std::vector<std::string>> try_list_directory(const std::string& path);
std::optional<std::vector<std::string>> try_list_directory_fd(int dir);

void make_directory_at(int dir, const std::string& name, mode_t mode);
bool try_make_directory(const std::string& path, mode_t mode);  // false: it exists already
void rename_at(int from_dir, const std::string& from, int to_dir, const std::string& to);
void unlink_at(int dir, const std::string& name, bool is_directory = false);
bool try_unlink_at(int dir, const std::string& name, bool is_directory = false);  // false when it fails
void truncate_fd(int fd, uint64_t size);
uint64_t seek(int fd, int64_t offset, int whence);
std::optional<uint64_t> try_seek(int fd, int64_t offset, int whence);  // nullopt: ENXIO (no more data) or not seekable
void sync_fd(int fd);                                                  // fsync(2)
bool try_lock_exclusive(int fd);  // flock(2) LOCK_EX|LOCK_NB; false: held by another

UniqueFd duplicate(int fd);
UniqueFd duplicate_to(int fd, int number);  // dup3(2)
bool is_open(int fd);                       // in this process
int get_status_flags(int fd);               // F_GETFL
void set_status_flags(int fd, int flags);   // F_SETFL
int get_pipe_size(int fd);
void set_pipe_size(int fd, int size);
std::optional<int> try_set_pipe_size(int fd, int size);  // the size it has then; nullopt: we may not
int bytes_readable(int fd);                              // FIONREAD
size_t tee(int from, int to, size_t size);               // tee(2), non-blocking; 0: nothing more to copy
struct Pipe {
  UniqueFd read_end, write_end;
};
Pipe make_pipe(int flags);
short poll_now(int fd, short events);  // revents, without waiting
// Waits until fd is readable or the milliseconds are over (-1: for ever); false on time-out. EINTR: goes on.
bool wait_readable(int fd, int milliseconds);
UniqueFd make_memfd(const std::string& name);
int terminal_session(int fd);  // TIOCGSID; -1 when it is no terminal of a session
bool is_terminal(int fd);

// A read-only mapping of a whole file.
class FileMapping {
 public:
  FileMapping() = default;
  FileMapping(int fd, size_t size, bool populate = false);
  FileMapping(FileMapping&& other) noexcept;
  FileMapping& operator=(FileMapping&& other) noexcept;
  ~FileMapping();
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }

 private:
  void* address_ = nullptr;
  size_t size_ = 0;
};

}  // namespace mcr::sys
