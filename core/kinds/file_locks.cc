#include "core/kinds/file_locks.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/path_walk.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

constexpr std::string_view kRead = "READ", kWrite = "WRITE", kBreaking = "BREAKING";

std::vector<procfs::FileLock> lines_of(const FileView& file) {
  std::vector<procfs::FileLock> locks;
  for (const std::string& line : file.info.rest)
    if (auto lock = procfs::parse_lock(line)) locks.push_back(std::move(*lock));
  return locks;
}

std::string kind_of(const procfs::FileLock& lock) {
  if (lock.kind == "FLOCK" && lock.mode == "ADVISORY") return kFlock;
  if (lock.kind == "POSIX") return kPosix;
  if (lock.kind == "OFDLCK") return kOpenFile;
  if (lock.kind == "LEASE") return kLease;
  return {};
}

// Of a lease that is being broken the type is what it is to become (target_leasetype in fs/locks.c). What it was is not
// shown any more, nor does anybody ask: of a file that is open for reading a read lease does as well.
void describe_breaking(const procfs::FileLock& lock, const FileView& file, image::FileLock& message) {
  message.set_breaking(lock.type == kRead ? kToRead : kToNothing);
  message.set_write(lock.type == kRead || (file.info.flags & O_ACCMODE) != O_RDONLY);
}

image::FileLock message_of(const procfs::FileLock& lock, const FileView& file) {
  image::FileLock message;
  message.set_kind(kind_of(lock));
  message.set_write(lock.type == kWrite);
  if (lock.mode == kBreaking) describe_breaking(lock, file, message);
  message.set_start(lock.start);
  message.set_bytes(lock.bytes);
  return message;
}

uint64_t end_of(uint64_t start, uint64_t bytes) {
  return bytes == 0 ? UINT64_MAX : start + bytes;
}

bool is_on_range(const std::string& kind) {
  return kind == kPosix || kind == kOpenFile;
}

// flock and fcntl locks do not see each other, except on network file systems.
bool is_in_the_way(const procfs::FileLock& found, const image::FileLock& wanted) {
  const std::string kind = kind_of(found);
  if (found.type != kWrite && !wanted.write()) return false;
  if (wanted.kind() == kLease || wanted.kind() == kFlock) return kind == wanted.kind();
  return is_on_range(kind) && found.start < end_of(wanted.start(), wanted.bytes()) &&
         wanted.start() < end_of(found.start, found.bytes);
}

std::string holder_of(pid_t pid) {
  if (pid <= 0) return "an open file of another process (F_OFD_SETLK)";
  auto comm = sys::try_read_text(fmt::format("/proc/{}/comm", pid)).value_or("ended, its file is open elsewhere");
  std::erase(comm, '\n');
  return fmt::format("process {} ({})", pid, comm);
}

std::optional<std::string> find_in_table(const image::FileLock& lock, const struct stat& file) {
  for (const auto& found : procfs::parse_locks(sys::try_read_text("/proc/locks").value_or("")))
    if (found.inode == file.st_ino && makedev(found.device_major, found.device_minor) == file.st_dev &&
        is_in_the_way(found, lock))
      return holder_of(found.pid);
  return std::nullopt;
}

// The check of the file itself tells why it cannot be opened.
std::optional<UniqueFd> probe(const std::string& path, int flags) {
  try {
    return sys::try_open_path(path, flags);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Of the file system itself: it knows locks of other hosts, and numbers that differ from those of stat(2).
std::optional<std::string> ask_file_system(const image::FileLock& lock, const std::string& path) {
  const auto file = probe(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) return std::nullopt;
  const auto pid = sys::find_lock(file->get(), {lock.write(), lock.start(), lock.bytes()});
  return pid ? std::optional(holder_of(*pid)) : std::nullopt;
}

}  // namespace

void look_at_locks(const FileView& file, bool are_kept) {
  for (const auto& lock : lines_of(file)) {
    const std::string kind = kind_of(lock);
    if (kind.empty())
      throw Error(Fault::refused,
                  fmt::format("the program holds a lock of kind {} {} on {}", lock.kind, lock.mode, file.link),
                  "such a lock cannot be saved: let the program release it");
    if (!are_kept)
      throw Error(Fault::refused,
                  fmt::format("the program holds {} on {}", describe(message_of(lock, file)), file.link),
                  "give --file-locks, which takes it again at the restore, or let the program release it");
  }
}

std::vector<image::FileLock> locks_of(const FileView& file, bool of_process) {
  std::vector<image::FileLock> messages;
  for (const auto& lock : lines_of(file))
    if ((kind_of(lock) == kPosix) == of_process) messages.push_back(message_of(lock, file));
  return messages;
}

bool has_lease(const FileView& file) {
  const auto locks = lines_of(file);
  return std::any_of(locks.begin(), locks.end(), [](const auto& lock) { return kind_of(lock) == kLease; });
}

bool has_write_lease(const FileView& file) {
  const auto locks = lines_of(file);
  return std::any_of(locks.begin(), locks.end(),
                     [&](const auto& lock) { return kind_of(lock) == kLease && message_of(lock, file).write(); });
}

std::string describe(const image::FileLock& lock) {
  const char* access = lock.write() ? "write" : "read";
  if (lock.kind() == kLease) return fmt::format("a {} lease (F_SETLEASE)", access);
  if (lock.kind() == kFlock) return lock.write() ? "an exclusive lock (flock)" : "a shared lock (flock)";
  const std::string range = lock.bytes() == 0
                                ? fmt::format("all from byte {}", lock.start())
                                : fmt::format("bytes {} to {}", lock.start(), lock.start() + lock.bytes() - 1);
  return fmt::format("a {} lock on {} ({})", access, range, lock.kind() == kPosix ? "F_SETLK" : "F_OFD_SETLK");
}

void check_lock(const image::FileLock& lock, const std::string& path, std::vector<Problem>& problems) {
  const auto place = probe(path, O_PATH);
  if (!place) return;
  const struct stat status = sys::stat_fd(place->get());
  if (lock.kind() == kLease && status.st_uid != sys::effective_uid() && !sys::has_capability(CAP_LEASE))
    problems.push_back({path,
                        fmt::format("the program had {}, and the file is user {}'s", describe(lock), status.st_uid),
                        "CAP_LEASE is the right that is missing: restore as root, or see docs/rights.md"});
  auto holder = find_in_table(lock, status);
  if (!holder && is_on_range(lock.kind()) && S_ISREG(status.st_mode)) holder = ask_file_system(lock, path);
  if (holder)
    problems.push_back({path,
                        fmt::format("the program had {}; now {} has one that forbids it", describe(lock), *holder),
                        "end that process, or let it release its lock"});
}

}  // namespace mcr::kinds
