// Parser of /proc/PID/fdinfo: captured text of Linux 6.18 for many kinds of files, and this process itself.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/unique_fd.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"

namespace mcr::procfs {
namespace {

using Lines = std::vector<std::string>;

FdInfo with_common_lines(std::string_view rest) {
  return parse_fdinfo("pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1039\n" + std::string(rest));
}

}  // namespace

TEST(ParseFdInfo, CommonLines) {
  const FdInfo info = parse_fdinfo("pos:\t3113\nflags:\t0100001\nmnt_id:\t27\nino:\t10952831\n");
  EXPECT_EQ(info.position, 3113);
  EXPECT_EQ(info.flags, 0100001U);
  EXPECT_EQ(info.mount_id, 27);
  EXPECT_EQ(info.inode, 10952831U);
  EXPECT_TRUE(info.rest.empty());
}

TEST(ParseFdInfo, InodeCame514) {
  const FdInfo info = parse_fdinfo("pos:\t-1\nflags:\t02\nmnt_id:\t7\n");
  EXPECT_EQ(info.inode, 0U);
  EXPECT_EQ(info.position, -1);
}

TEST(ParseFdInfo, KeepsTheLinesOfEachKind) {
  const Lines kinds[] = {
      {"eventfd-count:                7", "eventfd-id: 1", "eventfd-semaphore: 0"},
      {"tfd:        5 events:       19 data:                5  pos:0 ino:205b sdev:f"},
      {"clockid: 1", "ticks: 0", "settime flags: 00", "it_value: (99, 999946977)", "it_interval: (1, 0)"},
      {"sigmask:\t0000000000000800"},
      {"inotify wd:1 ino:3c51a sdev:fe00000 mask:100 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 "
       "f_handle:1ac5030000000000"},
      {"fanotify flags:0 event-flags:8000", "fanotify ino:3c51a sdev:fe00000 mflags:0 mask:20 ignored_mask:0"},
      {"Pid:\t4585", "NSpid:\t4585"},
      {"lock:\t1: FLOCK  ADVISORY  WRITE 4585 fe:00:10952836 0 EOF",
       "lock:\t2: POSIX  ADVISORY  WRITE 4585 fe:00:10952836 5 14"},
      {"scm_fds: 0"},
      {"pending:\t0", "total:\t0", "API:\taa:0:80000000000001ff"},
      {"SqMask:\t0x3", "PollList:", "CqOverflowList:", "NAPI:\tdisabled"},
      {"map_type:\t1", "map_flags:\t0x0"},
      {"iff:\t"},
  };
  for (const Lines& lines : kinds) {
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    EXPECT_EQ(with_common_lines(text).rest, lines);
  }
}

TEST(ParseFdInfo, ADriverMayUseTheSameWords) {
  const FdInfo info = with_common_lines("flags:\t0xzz\npos:\tfar away\n");
  EXPECT_EQ(info.flags, 02000002U);
  EXPECT_EQ(info.rest, (Lines{"flags:\t0xzz", "pos:\tfar away"}));
}

TEST(ParseFdInfo, RefusesWhatItCannotRead) {
  for (const char* text : {"", "pos:\t0\n", "pos:\t0\nflags:\t02\n", "pos:\tx\nflags:\t02\nmnt_id:\t1\n",
                           "pos:\t0\nflags:\t09\nmnt_id:\t1\n", "pos:\t0\nflags:\t777777777777\nmnt_id:\t1\n",
                           "pos:\t99999999999999999999\nflags:\t02\nmnt_id:\t1\n"})
    EXPECT_THROW(parse_fdinfo(text), Error) << text;
}

TEST(ParseFdInfo, AgreesWithThisProcess) {
  const UniqueFd file = sys::make_memfd("fdinfo");
  sys::write_text(file.get(), "hello");
  const FdInfo info = parse_fdinfo(sys::read_text(fmt::format("/proc/self/fdinfo/{}", file.get())));
  EXPECT_EQ(info.position, 5);
  EXPECT_EQ(info.flags & static_cast<uint32_t>(O_ACCMODE), static_cast<uint32_t>(O_RDWR));
  EXPECT_NE(info.flags & static_cast<uint32_t>(O_CLOEXEC), 0U);
  if (info.inode != 0) {
    EXPECT_EQ(info.inode, sys::stat_fd(file.get()).st_ino);
  }
  const UniqueFd counter(eventfd(7, EFD_NONBLOCK));
  const FdInfo event = parse_fdinfo(sys::read_text(fmt::format("/proc/self/fdinfo/{}", counter.get())));
  ASSERT_FALSE(event.rest.empty());
  EXPECT_EQ(event.rest[0], "eventfd-count:                7");
}

}  // namespace mcr::procfs
