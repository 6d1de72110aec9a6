#include "core/procfs/scan.h"
#include "core/procfs/status.h"

namespace mcr::procfs {
namespace {

constexpr std::string_view kEnd = "EOF";

// Behind the number: "POSIX  ADVISORY  WRITE 4711 fe:00:1234 5 14". Without an inode it is "<none>:0".
FileLock parse_rest(Cursor& cursor) {
  FileLock lock;
  lock.kind = cursor.word();
  lock.mode = cursor.word();
  lock.type = cursor.word();
  lock.pid = cursor.skip_blanks().number<pid_t>();
  cursor.skip_blanks();
  if (!cursor.accept("<none>:0")) {
    lock.device_major = cursor.number<uint32_t>(16);
    cursor.expect(":");
    lock.device_minor = cursor.number<uint32_t>(16);
    cursor.expect(":");
    lock.inode = cursor.number<uint64_t>();
  }
  lock.start = cursor.skip_blanks().number<uint64_t>();
  if (cursor.skip_blanks().accept(kEnd)) return cursor.finish(), lock;
  const auto last = cursor.number<uint64_t>();
  cursor.finish();
  if (last < lock.start || last - lock.start == UINT64_MAX) cursor.fail();
  lock.bytes = last - lock.start + 1;
  return lock;
}

}  // namespace

std::optional<FileLock> parse_lock(std::string_view line) {
  Cursor cursor("fdinfo", line);
  if (!cursor.accept("lock:")) return std::nullopt;
  cursor.skip_blanks().number<uint64_t>();
  cursor.expect(":");
  return parse_rest(cursor);
}

std::vector<FileLock> parse_locks(std::string_view text) {
  std::vector<FileLock> locks;
  std::string_view line;
  for (Lines lines(text); lines.next(line);) {
    Cursor cursor("locks", line);
    cursor.skip_blanks().number<uint64_t>();
    cursor.expect(":");
    cursor.skip_blanks();
    if (!cursor.rest().starts_with("->")) locks.push_back(parse_rest(cursor));
  }
  return locks;
}

}  // namespace mcr::procfs
