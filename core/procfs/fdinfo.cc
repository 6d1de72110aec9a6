#include "core/procfs/scan.h"
#include "core/procfs/status.h"

namespace mcr::procfs {

// seq_show() of fs/proc/fd.c prints pos, flags, mnt_id (3.15) and ino (5.14) first; what the driver of the file adds
// comes after them and may use the same words, so each is taken once only.
FdInfo parse_fdinfo(std::string_view text) {
  constexpr std::string_view kFdInfo = "fdinfo";
  FdInfo info;
  bool has_position = false, has_flags = false, has_mount = false, has_inode = false;
  const auto take = [](Cursor& cursor, std::string_view key, bool& seen) {
    if (seen || !cursor.accept(key)) return false;
    cursor.skip_blanks();
    return seen = true;
  };
  std::string_view line;
  for (Lines lines(text); lines.next(line);) {
    Cursor cursor(kFdInfo, line);
    if (take(cursor, "pos:", has_position))
      info.position = cursor.number<int64_t>();
    else if (take(cursor, "flags:", has_flags))
      info.flags = cursor.number<uint32_t>(8);
    else if (take(cursor, "mnt_id:", has_mount))
      info.mount_id = cursor.number<int>();
    else if (take(cursor, "ino:", has_inode))
      info.inode = cursor.number<uint64_t>();
    else {
      info.rest.emplace_back(line);
      continue;
    }
    cursor.finish();
  }
  if (!has_position) throw_missing(kFdInfo, "pos:");
  if (!has_flags) throw_missing(kFdInfo, "flags:");
  if (!has_mount) throw_missing(kFdInfo, "mnt_id:");
  return info;
}

}  // namespace mcr::procfs
