// What /proc/PID/fdinfo says of files that only exist while they are open: captured text of Linux 6.18, older kernels,
// and this process itself.
#include "core/procfs/event_files.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>

#include "core/base/error.h"
#include "core/sys/event_file.h"
#include "core/sys/file.h"

namespace mcr::procfs {
namespace {

FdInfo info_of(std::vector<std::string> rest) {
  FdInfo info;
  info.rest = std::move(rest);
  return info;
}
FdInfo info_of(int fd) {
  return parse_fdinfo(sys::read_text(fmt::format("/proc/self/fdinfo/{}", fd)));
}

TEST(EventFiles, Counter) {
  const auto counter =
      event_counter_of(info_of({"eventfd-count: fffffffffffffffe", "eventfd-id: 2", "eventfd-semaphore: 1"}));
  EXPECT_EQ(counter.count, 0xfffffffffffffffeU);
  EXPECT_EQ(counter.is_semaphore, true);
  const auto old = event_counter_of(info_of({"eventfd-count:                1f", "eventfd-id: 2"}));
  EXPECT_EQ(old.count, 0x1fU);
  EXPECT_FALSE(old.is_semaphore.has_value());
  EXPECT_THROW(event_counter_of(info_of({"eventfd-id: 2"})), Error);
  EXPECT_THROW(event_counter_of(info_of({"eventfd-count: 1ffffffffffffffff"})), Error);
  EXPECT_THROW(event_counter_of(info_of({"eventfd-count: 1 2"})), Error);
}

TEST(EventFiles, Timer) {
  const auto timer = timer_file_of(
      info_of({"clockid: 9", "ticks: 3", "settime flags: 03", "it_value: (99, 999946977)", "it_interval: (1, 5)"}));
  EXPECT_EQ(timer.clock, 9);
  EXPECT_EQ(timer.ticks, 3U);
  EXPECT_EQ(timer.settime_flags, 3U);
  EXPECT_EQ(timer.value_ns, 99'999'946'977);
  EXPECT_EQ(timer.interval_ns, 1'000'000'005);
  for (const char* value : {"it_value: (9223372037, 0)", "it_value: (-1, 0)", "it_value: (1, 1000000000)",
                            "it_value: (1, -1)", "it_value: (1 1)", "it_value: (1, 1) x", "it_value:"})
    EXPECT_THROW(timer_file_of(info_of({"clockid: 1", "ticks: 0", "settime flags: 00", value, "it_interval: (0, 0)"})),
                 Error)
        << value;
  EXPECT_THROW(timer_file_of(info_of({"clockid: 1"})), Error);
}

TEST(EventFiles, SignalMask) {
  EXPECT_EQ(signal_mask_of(info_of({"sigmask:\t8000000000000800"})), 0x8000000000000800U);
  EXPECT_THROW(signal_mask_of(info_of(std::vector<std::string>{})), Error);
}

TEST(EventFiles, Watches) {
  const auto watches =
      watches_of(info_of({"tfd:        5 events:       19 data:                5  pos:0 ino:40f sdev:10",
                          "tfd:   100000 events: 80000019 data: ffffffffffffffff  pos:-1 ino:a0aab1 "
                          "sdev:fe00002"}));
  ASSERT_EQ(watches.size(), 2U);
  EXPECT_EQ(watches[0].fd, 5);
  EXPECT_EQ(watches[0].events, 0x19U);
  EXPECT_EQ(watches[0].inode, 0x40fU);
  EXPECT_EQ(watches[0].device, makedev(0, 16));
  EXPECT_EQ(watches[1].fd, 100000);
  EXPECT_EQ(watches[1].events, 0x80000019U);
  EXPECT_EQ(watches[1].data, UINT64_MAX);
  EXPECT_EQ(watches[1].device, makedev(254, 2));
  EXPECT_TRUE(watches_of(info_of({"eventfd-id: 2"})).empty());
  for (const char* line :
       {"tfd: x", "tfd: 1 events: 19", "tfd: 1 events: 19 data: 5 pos:0 ino:40f",
        "tfd: 1 events: 1ffffffff data: 5 pos:0 ino:40f sdev:10", "tfd: 1 events: 19 data: 5 pos:0 ino:40f sdev:10 x"})
    EXPECT_THROW(watches_of(info_of({line})), Error) << line;
}

TEST(EventFiles, ProcessesOfPidfds) {
  EXPECT_EQ(pid_file_of(info_of({"Pid:\t4585", "NSpid:\t4585\t7"})).own_pid, 7);
  EXPECT_EQ(pid_file_of(info_of({"Pid:\t4585", "NSpid:\t4585\t7"})).pid, 4585);
  EXPECT_EQ(pid_file_of(info_of({"Pid:\t-1", "NSpid:\t-1"})).pid, -1);
  EXPECT_EQ(pid_file_of(info_of({"Pid:\t12"})).own_pid, 12);
  EXPECT_THROW(pid_file_of(info_of({"NSpid:\t12"})), Error);
  EXPECT_THROW(pid_file_of(info_of({"Pid:\t12", "NSpid:\tx"})), Error);
}

TEST(EventFiles, InotifyWatches) {
  const auto watches =
      inotify_of(info_of({"inotify wd:1f ino:3c51a sdev:fe00000 mask:4000100 ignored_mask:0 "
                          "fhandle-bytes:8 fhandle-type:1 f_handle:1ac50300000000ff",
                          "inotify wd:2 ino:7 sdev:1a mask:2 ignored_mask:0 "}));
  ASSERT_EQ(watches.size(), 2U);
  EXPECT_EQ(watches[0].wd, 31);
  EXPECT_EQ(watches[0].inode, 0x3c51aU);
  EXPECT_EQ(watches[0].mask, 0x4000100U);
  EXPECT_EQ(watches[0].handle_type, 1);
  EXPECT_EQ(watches[0].handle, std::string("\x1a\xc5\x03\0\0\0\0\xff", 8));
  EXPECT_TRUE(watches[1].handle.empty());
  const std::string head = "inotify wd:1 ino:1 sdev:1 mask:2 ignored_mask:0 ";
  for (const char* tail : {"fhandle-bytes:8 fhandle-type:1 f_handle:1a", "fhandle-bytes:1 fhandle-type:1 f_handle:xx",
                           "fhandle-bytes:81 fhandle-type:1 f_handle:00", "fhandle-bytes:1 f_handle:00", "more"})
    EXPECT_THROW(inotify_of(info_of({head + tail})), Error) << tail;
}

TEST(EventFiles, FanotifyGroups) {
  using Kind = FanotifyMarkInfo::Kind;
  const std::string head = "fanotify flags:c03 event-flags:8000";
  const auto group = fanotify_of(info_of(
      {head,
       "fanotify ino:a83fdc sdev:fe00000 mflags:40 mask:48000300 ignored_mask:20 fhandle-bytes:8 fhandle-type:1 "
       "f_handle:1ac50300000000ff",
       "fanotify mnt_id:1e mflags:440 mask:18 ignored_mask:18", "fanotify sdev:1b mflags:0 mask:20 ignored_mask:0",
       "fanotify mnt_ns:4026531832 mflags:0 mask:3000000 ignored_mask:0"}));
  EXPECT_EQ(group.flags, 0xc03U);
  EXPECT_EQ(group.event_flags, 0x8000U);
  ASSERT_EQ(group.marks.size(), 4U);
  EXPECT_EQ(group.marks[0].kind, Kind::inode);
  EXPECT_EQ(group.marks[0].inode, 0xa83fdcU);
  EXPECT_EQ(group.marks[0].flags, 0x40U);
  EXPECT_EQ(group.marks[0].mask, 0x48000300U);
  EXPECT_EQ(group.marks[0].ignored_mask, 0x20U);
  EXPECT_EQ(group.marks[0].handle, std::string("\x1a\xc5\x03\0\0\0\0\xff", 8));
  EXPECT_EQ(group.marks[1].kind, Kind::mount);
  EXPECT_EQ(group.marks[1].mount, 30);
  EXPECT_EQ(group.marks[2].kind, Kind::file_system);
  EXPECT_EQ(group.marks[2].device, 27U);
  EXPECT_EQ(group.marks[3].kind, Kind::mount_namespace);
  EXPECT_EQ(group.marks[3].inode, 4026531832U);
  EXPECT_TRUE(fanotify_of(info_of({head})).marks.empty());
  EXPECT_THROW(fanotify_of(info_of({})), Error);
  for (const char* line : {"fanotify ", "fanotify ino:1 mflags:0 mask:2 ignored_mask:0", "fanotify mnt_id:x mflags:0",
                           "fanotify sdev:1 mflags:0 mask:2", "fanotify sdev:1 mflags:0 mask:2 ignored_mask:0 more"})
    EXPECT_THROW(fanotify_of(info_of({head, line})), Error) << line;
}

TEST(EventFiles, RingsOfIoUring) {
  std::vector<std::string> lines{"SqMask:\t0x7",
                                 "SqHead:\t5",
                                 "SqTail:\t6",
                                 "CachedSqHead:\t4294967295",
                                 "CqMask:\t0xf",
                                 "CqHead:\t3",
                                 "CqTail:\t5",
                                 "CachedCqTail:\t4294967295",
                                 "SQEs:\t1",
                                 "    5: opcode:NOP, fd:0, flags:0, user_data:0, e0:0x0, e1:0x0",
                                 "CQEs:\t1",
                                 "    7: user_data:0, res:0, flag:0, extra1:0, extra2:0",
                                 "",
                                 "SqThread:\t-1",
                                 "SqThreadCpu:\t-1",
                                 "UserFiles:\t2",
                                 "    0: /dev/null",
                                 "UserBufs:\t2",
                                 "    0: 0x7f9e78cf2000/4096",
                                 "    1: <none>",
                                 "PollList:",
                                 "CqOverflowList:",
                                 "NAPI:\tdisabled"};
  const auto info_with = [&](size_t line, const std::string& text) {
    auto changed = lines;
    changed[line] = text;
    FdInfo info;
    info.rest = changed;
    return info;
  };
  const IoUringInfo ring = io_uring_of(info_with(0, lines[0]));
  EXPECT_EQ(ring.sq_entries, 8U);
  EXPECT_EQ(ring.cq_entries, 16U);
  EXPECT_EQ(ring.taken, UINT32_MAX);
  EXPECT_TRUE(ring.is_idle());
  EXPECT_FALSE(ring.has_thread || ring.polls_network || ring.has_personalities);
  EXPECT_EQ(ring.files, 2U);
  ASSERT_EQ(ring.buffers.size(), 2U);
  EXPECT_EQ(ring.buffers[0].address, 0x7f9e78cf2000U);
  EXPECT_EQ(ring.buffers[0].bytes, 4096U);
  EXPECT_EQ(ring.buffers[1].bytes, 0U);
  ASSERT_EQ(ring.entries.size(), 1U);
  ASSERT_EQ(ring.completions.size(), 1U);
  EXPECT_FALSE(io_uring_of(info_with(7, "CachedCqTail:\t4294967294")).is_idle());
  EXPECT_FALSE(io_uring_of(info_with(21, "  op=22, task_works=0")).is_idle());
  EXPECT_TRUE(io_uring_of(info_with(13, "SqThread:\t417")).has_thread);
  EXPECT_TRUE(io_uring_of(info_with(22, "NAPI:\tenabled")).polls_network);
  EXPECT_TRUE(io_uring_of(info_with(22, "Personalities:")).has_personalities);
  EXPECT_THROW(io_uring_of(info_with(0, "SqMask:\t0xffffffff")), Error);
  EXPECT_THROW(io_uring_of(info_with(0, "SqMask:\t7")), Error);
  EXPECT_THROW(io_uring_of(info_with(3, "other")), Error);
  EXPECT_THROW(io_uring_of(info_with(18, "    0: 0x7f/x")), Error);
  EXPECT_THROW(io_uring_of(info_with(19, "    2: <none>")), Error);
}

TEST(EventFiles, FolderOfAMount) {
  const std::string text =
      "24 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
      "36 24 98:0 /part /mnt/a\\040b rw,noatime - ext3 /dev/b rw\n";
  EXPECT_EQ(folder_of_mount(text, 36), "/mnt/a b");
  EXPECT_EQ(folder_of_mount(text, 24), "/");
  EXPECT_EQ(folder_of_mount(text, 2), std::nullopt);
}

TEST(EventFiles, Mounts) {
  const std::string text =
      "24 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
      "25 24 0:26 / /mnt/a\\040b\\134c rw shared:1 - tmpfs x rw\n"
      "26 24 254:0 /part /srv rw - ext4 /dev/root rw\n";
  EXPECT_EQ(mounts_of(text, makedev(254, 0)), (std::vector<std::string>{"/", "/srv"}));
  EXPECT_EQ(mounts_of(text, makedev(0, 26)), (std::vector<std::string>{"/mnt/a b\\c"}));
  EXPECT_TRUE(mounts_of(text, makedev(9, 9)).empty());
  EXPECT_THROW(mounts_of("x\n", 0), Error);
  EXPECT_THROW(mounts_of("1 1 0:1 / /a\\9 rw\n", makedev(0, 1)), Error);
}

// Kernels before 6.5 do not say it. What is asked stays as it was.
TEST(EventFiles, SemaphoresAreFoundOut) {
  for (const bool is_semaphore : {false, true})
    for (const uint64_t count :
         {uint64_t{0}, uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{1} << 40, UINT64_MAX - 1}) {
      const UniqueFd counter = sys::make_event_counter(count, is_semaphore);
      EXPECT_EQ(sys::probe_semaphore(counter.get(), count), is_semaphore) << count;
      EXPECT_EQ(event_counter_of(info_of(counter.get())).count, count) << is_semaphore;
    }
  const UniqueFd blocking(::eventfd(0, EFD_SEMAPHORE));
  EXPECT_TRUE(sys::probe_semaphore(blocking.get(), 0));
  EXPECT_EQ(event_counter_of(info_of(blocking.get())).count, 0U);
}

TEST(EventFiles, TimersOfThisProcess) {
  const UniqueFd timer = sys::make_timer_file(CLOCK_MONOTONIC);
  sys::set_timer(timer.get(), TFD_TIMER_ABSTIME, {INT64_MAX / 4, 7'000'000'001});
  sys::set_timer_ticks(timer.get(), 5);
  const auto info = timer_file_of(info_of(timer.get()));
  EXPECT_EQ(info.ticks, 5U);
  EXPECT_EQ(info.interval_ns, 7'000'000'001);
  EXPECT_EQ(info.settime_flags, uint32_t{TFD_TIMER_ABSTIME});
  EXPECT_GT(info.value_ns, INT64_MAX / 8);
}

}  // namespace
}  // namespace mcr::procfs
