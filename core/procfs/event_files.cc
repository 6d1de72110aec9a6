#include "core/procfs/event_files.h"

#include <sys/sysmacros.h>

#include "core/procfs/scan.h"

namespace mcr::procfs {
namespace {

constexpr std::string_view kFdInfo = "fdinfo";

std::optional<Cursor> find_line(const FdInfo& info, std::string_view key) {
  for (const std::string& line : info.rest) {
    Cursor cursor(kFdInfo, line);
    if (cursor.accept(key)) return cursor;
  }
  return std::nullopt;
}

Cursor require_line(const FdInfo& info, std::string_view key) {
  const auto found = find_line(info, key);
  if (!found) throw_missing(kFdInfo, key);
  return *found;
}

// "(5, 999946977)": seconds and nanoseconds, which together must fit.
int64_t read_time(Cursor cursor) {
  constexpr int64_t kSecond = 1'000'000'000;
  const auto seconds = cursor.skip_blanks().expect("(").number<int64_t>();
  const auto ns = cursor.expect(",").skip_blanks().number<int64_t>();
  cursor.expect(")").finish();
  if (seconds < 0 || seconds >= INT64_MAX / kSecond || ns < 0 || ns >= kSecond) cursor.fail();
  return seconds * kSecond + ns;
}

// The kernel's own form of a device number: 12 and 20 bits.
uint64_t device_of(uint32_t number) {
  return makedev(number >> 20, number & 0xfffff);
}

std::string read_bytes(Cursor& cursor, size_t count) {
  std::string bytes;
  const std::string_view text = cursor.word();
  if (text.size() != 2 * count) cursor.fail();
  for (size_t i = 0; i < count; ++i)
    bytes += static_cast<char>(Cursor(kFdInfo, text.substr(2 * i, 2)).number<unsigned char>(16));
  return bytes;
}

void read_handle(Cursor& cursor, int& type, std::string& handle) {
  constexpr size_t kLongestHandle = 128;  // MAX_HANDLE_SZ
  if (!cursor.skip_blanks().accept("fhandle-bytes:")) return;
  const auto bytes = cursor.number<uint32_t>(16);
  type = cursor.skip_blanks().expect("fhandle-type:").number<int>(16);
  cursor.skip_blanks().expect("f_handle:");
  if (bytes > kLongestHandle) cursor.fail();
  handle = read_bytes(cursor, bytes);
}

struct MountLine {
  int id = 0;
  uint64_t device = 0;
  std::string folder;
};

// "36 35 98:0 /part /mnt/a\\040b rw,noatime ...": blanks and the like in three octal digits.
MountLine read_mount(std::string_view line) {
  constexpr std::string_view kMountInfo = "mountinfo";
  MountLine mount;
  Cursor cursor(kMountInfo, line);
  mount.id = cursor.number<int>();
  cursor.skip_blanks().number<int>();
  const auto upper = cursor.skip_blanks().number<uint32_t>();
  const auto lower = cursor.expect(":").number<uint32_t>();
  mount.device = makedev(upper, lower);
  cursor.word();  // the part of the file system that is mounted
  const std::string_view folder = cursor.word();
  for (size_t i = 0; i < folder.size(); ++i) {
    if (folder[i] != '\\') {
      mount.folder += folder[i];
      continue;
    }
    mount.folder += static_cast<char>(Cursor(kMountInfo, folder.substr(i + 1, 3)).number<unsigned char>(8));
    i += 3;
  }
  return mount;
}

// "0: 0x7f9e78cf2000/4096", "1: <none>"
IoUringInfo::Buffer ring_buffer_of(std::string_view line, size_t index) {
  IoUringInfo::Buffer buffer;
  Cursor cursor(kFdInfo, line);
  if (cursor.skip_blanks().number<uint32_t>() != index) cursor.fail();
  if (cursor.expect(":").skip_blanks().accept("<none>")) return buffer;
  buffer.address = cursor.expect("0x").number<uint64_t>(16);
  buffer.bytes = cursor.expect("/").number<uint64_t>();
  cursor.finish();
  return buffer;
}

}  // namespace

EventCounterInfo event_counter_of(const FdInfo& info) {
  EventCounterInfo counter;
  counter.count = require_line(info, "eventfd-count:").last_number<uint64_t>(16);
  if (auto line = find_line(info, "eventfd-semaphore:")) counter.is_semaphore = line->last_number<int>() != 0;
  return counter;
}

TimerFileInfo timer_file_of(const FdInfo& info) {
  TimerFileInfo timer;
  timer.clock = require_line(info, "clockid:").last_number<int>();
  timer.ticks = require_line(info, "ticks:").last_number<uint64_t>();
  timer.settime_flags = require_line(info, "settime flags:").last_number<uint32_t>(8);
  timer.value_ns = read_time(require_line(info, "it_value:"));
  timer.interval_ns = read_time(require_line(info, "it_interval:"));
  return timer;
}

uint64_t signal_mask_of(const FdInfo& info) {
  return require_line(info, "sigmask:").last_number<uint64_t>(16);
}

// "tfd: 5 events: 19 data: 5  pos:0 ino:40f sdev:10".
std::vector<WatchInfo> watches_of(const FdInfo& info) {
  std::vector<WatchInfo> watches;
  for (const std::string& line : info.rest) {
    Cursor cursor(kFdInfo, line);
    if (!cursor.accept("tfd:")) continue;
    WatchInfo& watch = watches.emplace_back();
    watch.fd = cursor.skip_blanks().number<int>();
    watch.events = cursor.skip_blanks().expect("events:").skip_blanks().number<uint32_t>(16);
    watch.data = cursor.skip_blanks().expect("data:").skip_blanks().number<uint64_t>(16);
    cursor.skip_blanks().expect("pos:").number<int64_t>();
    watch.inode = cursor.skip_blanks().expect("ino:").number<uint64_t>(16);
    watch.device = device_of(cursor.skip_blanks().expect("sdev:").number<uint32_t>(16));
    cursor.finish();
  }
  return watches;
}

// "Pid: 4585" and "NSpid: 4585 7", the outermost first.
PidFileInfo pid_file_of(const FdInfo& info) {
  PidFileInfo file;
  file.pid = file.own_pid = require_line(info, "Pid:").last_number<pid_t>();
  if (auto line = find_line(info, "NSpid:"))
    while (!line->skip_blanks().at_end()) file.own_pid = line->number<pid_t>();
  return file;
}

// "inotify wd:1 ino:3c51a sdev:fe00000 mask:100 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:1ac5..."
std::vector<InotifyInfo> inotify_of(const FdInfo& info) {
  std::vector<InotifyInfo> watches;
  for (const std::string& line : info.rest) {
    Cursor cursor(kFdInfo, line);
    if (!cursor.accept("inotify ")) continue;
    InotifyInfo& watch = watches.emplace_back();
    watch.wd = cursor.expect("wd:").number<int>(16);
    watch.inode = cursor.skip_blanks().expect("ino:").number<uint64_t>(16);
    watch.device = device_of(cursor.skip_blanks().expect("sdev:").number<uint32_t>(16));
    watch.mask = cursor.skip_blanks().expect("mask:").number<uint32_t>(16);
    cursor.skip_blanks().expect("ignored_mask:").number<uint32_t>(16);
    read_handle(cursor, watch.handle_type, watch.handle);
    cursor.finish();
  }
  return watches;
}

// "fanotify flags:c03 event-flags:8000", then "fanotify ino:a83fdc sdev:fe00000 mflags:0 mask:48000300 ignored_mask:0
// fhandle-bytes:...", "fanotify mnt_id:1e mflags:...", "fanotify sdev:1b mflags:...", "fanotify mnt_ns:4026531832 ...".
FanotifyInfo fanotify_of(const FdInfo& info) {
  using Kind = FanotifyMarkInfo::Kind;
  FanotifyInfo group;
  Cursor head = require_line(info, "fanotify flags:");
  group.flags = head.number<uint32_t>(16);
  group.event_flags = head.skip_blanks().expect("event-flags:").number<uint32_t>(16);
  head.finish();
  for (const std::string& line : info.rest) {
    Cursor cursor(kFdInfo, line);
    if (!cursor.accept("fanotify ") || cursor.accept("flags:")) continue;
    FanotifyMarkInfo& mark = group.marks.emplace_back();
    if (cursor.accept("ino:")) {
      mark.inode = cursor.number<uint64_t>(16);
      mark.device = device_of(cursor.skip_blanks().expect("sdev:").number<uint32_t>(16));
    } else if (cursor.accept("mnt_id:")) {
      mark.kind = Kind::mount;
      mark.mount = cursor.number<int>(16);
    } else if (cursor.accept("mnt_ns:")) {
      mark.kind = Kind::mount_namespace;
      mark.inode = cursor.number<uint64_t>();
    } else {
      mark.kind = Kind::file_system;
      mark.device = device_of(cursor.expect("sdev:").number<uint32_t>(16));
    }
    mark.flags = cursor.skip_blanks().expect("mflags:").number<uint32_t>(16);
    mark.mask = cursor.skip_blanks().expect("mask:").number<uint32_t>(16);
    mark.ignored_mask = cursor.skip_blanks().expect("ignored_mask:").number<uint32_t>(16);
    read_handle(cursor, mark.handle_type, mark.handle);
    cursor.finish();
  }
  return group;
}

// io_uring/fdinfo.c: "Key:\tvalue", some followed by lines that begin with blanks, one an item.
IoUringInfo io_uring_of(const FdInfo& info) {
  IoUringInfo ring;
  const auto mask = [&](std::string_view key) {
    Cursor cursor = require_line(info, key);
    cursor.skip_blanks().expect("0x");
    const auto value = cursor.number<uint32_t>(16);
    if (value == UINT32_MAX) cursor.fail();
    return value + 1;
  };
  ring.sq_entries = mask("SqMask:");
  ring.cq_entries = mask("CqMask:");
  ring.taken = require_line(info, "CachedSqHead:").last_number<uint32_t>();
  ring.completed = require_line(info, "CachedCqTail:").last_number<uint32_t>();
  ring.has_thread = require_line(info, "SqThread:").last_number<int>() >= 0;
  ring.files = require_line(info, "UserFiles:").last_number<uint32_t>();
  ring.has_personalities = find_line(info, "Personalities:").has_value();
  if (auto line = find_line(info, "NAPI:")) ring.polls_network = !line->skip_blanks().accept("disabled");
  std::string_view list;
  for (const std::string& line : info.rest) {
    if (line.empty()) continue;
    if (!is_blank(line.front())) {
      list = std::string_view(line).substr(0, line.find(':'));
      continue;
    }
    if (list == "SQEs") ring.entries.push_back(line);
    if (list == "CQEs") ring.completions.push_back(line);
    if (list == "UserBufs") ring.buffers.push_back(ring_buffer_of(line, ring.buffers.size()));
    if (list == "PollList" || list == "CqOverflowList") ++ring.waiting;
  }
  return ring;
}

std::vector<std::string> mounts_of(std::string_view mountinfo, uint64_t device) {
  std::vector<std::string> folders;
  std::string_view line;
  for (Lines lines(mountinfo); lines.next(line);)
    if (MountLine mount = read_mount(line); mount.device == device) folders.push_back(std::move(mount.folder));
  return folders;
}

std::optional<std::string> folder_of_mount(std::string_view mountinfo, int mount) {
  std::string_view line;
  for (Lines lines(mountinfo); lines.next(line);)
    if (MountLine found = read_mount(line); found.id == mount) return std::move(found.folder);
  return std::nullopt;
}

}  // namespace mcr::procfs
