// Parser of locks in fdinfo and /proc/locks: captured text of Linux 6.18.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/base/error.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"

namespace mcr::procfs {

TEST(ParseLock, EveryKindOfLine) {
  const auto posix = parse_lock("lock:\t2: POSIX  ADVISORY  WRITE 10504 fe:00:11043701 5 14");
  ASSERT_TRUE(posix);
  EXPECT_EQ(posix->kind, "POSIX");
  EXPECT_EQ(posix->mode, "ADVISORY");
  EXPECT_EQ(posix->type, "WRITE");
  EXPECT_EQ(posix->pid, 10504);
  EXPECT_EQ(posix->device_major, 0xfeU);
  EXPECT_EQ(posix->device_minor, 0U);
  EXPECT_EQ(posix->inode, 11043701U);
  EXPECT_EQ(posix->start, 5U);
  EXPECT_EQ(posix->bytes, 10U);
  const auto open_file = parse_lock("lock:\t3: OFDLCK ADVISORY  READ -1 fe:00:11043701 100 EOF");
  ASSERT_TRUE(open_file);
  EXPECT_EQ(open_file->pid, -1);
  EXPECT_EQ(open_file->start, 100U);
  EXPECT_EQ(open_file->bytes, 0U);
  const auto flock = parse_lock("lock:\t1: FLOCK  ADVISORY  READ 10504 00:06:3 0 EOF");
  ASSERT_TRUE(flock);
  EXPECT_EQ(flock->kind, "FLOCK");
  const auto lease = parse_lock("lock:\t1: LEASE  BREAKING  READ 10504 fe:00:11043720 0 EOF");
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->mode, "BREAKING");
  EXPECT_FALSE(parse_lock("eventfd-count: 0"));
}

TEST(ParseLock, WhatIsNone) {
  for (const char* line :
       {"lock:", "lock:\t1: ", "lock:\t1: POSIX  ADVISORY  WRITE", "lock:\tx: POSIX  ADVISORY  READ 1 0:0:1 0 EOF",
        "lock:\t1: POSIX  ADVISORY  WRITE 1 fe:00:1 14 5", "lock:\t1: POSIX  ADVISORY  WRITE 1 fe:00:1 0 EOF 1",
        "lock:\t1: POSIX  ADVISORY  WRITE 1 fe:00:1 0 18446744073709551615",
        "lock:\t1: POSIX  ADVISORY  WRITE 1 fe:00 0 EOF"})
    EXPECT_THROW(parse_lock(line), Error) << line;
}

TEST(ParseLocks, WithoutThoseWhoWait) {
  const auto locks = parse_locks(
      "1: FLOCK  ADVISORY  READ 10504 00:06:3 0 EOF\n"
      "6: LEASE  BREAKING  READ 10504 fe:00:11043720 0 EOF\n"
      "6: -> LEASE  BREAKER   READ 10533 <none>:0 0 EOF\n"
      "7: POSIX  ADVISORY  WRITE 0 <none>:0 0 9\n");
  ASSERT_EQ(locks.size(), 3U);
  EXPECT_EQ(locks[0].inode, 3U);
  EXPECT_EQ(locks[1].kind, "LEASE");
  EXPECT_EQ(locks[2].bytes, 10U);
}

TEST(ParseLocks, ThoseOfThisProcess) {
  const UniqueFd file(::memfd_create("locked", 0));
  ASSERT_EQ(::flock(file.get(), LOCK_EX), 0);
  const FdInfo info = parse_fdinfo(sys::read_text(fmt::format("/proc/self/fdinfo/{}", file.get())));
  ASSERT_EQ(info.rest.size(), 1U);
  const auto lock = parse_lock(info.rest[0]);
  ASSERT_TRUE(lock);
  EXPECT_EQ(lock->kind, "FLOCK");
  EXPECT_EQ(lock->type, "WRITE");
  EXPECT_EQ(lock->inode, sys::stat_fd(file.get()).st_ino);
  bool is_listed = false;
  for (const FileLock& other : parse_locks(sys::read_text("/proc/locks"))) is_listed |= other.inode == lock->inode;
  EXPECT_TRUE(is_listed);
}

}  // namespace mcr::procfs
