#include "core/base/bounds.h"

#include <gtest/gtest.h>

#include <string>

namespace mcr::bounds {
namespace {

TEST(Bounds, Paths) {
  for (const char* good : {"/", "/a", "/a/b.c", "/...", "/a b/\x01\xff", "/..a/b.."}) EXPECT_TRUE(is_kernel_path(good));
  for (const char* bad : {"", "a", "./a", "//", "/a/", "/a//b", "/.", "/..", "/a/../b", "/a/.", "/a/.."})
    EXPECT_FALSE(is_kernel_path(bad)) << bad;
  EXPECT_FALSE(is_kernel_path(std::string("/a\0b", 4)));
  EXPECT_TRUE(is_kernel_path("/" + std::string(kMaxName, 'n')));
  EXPECT_FALSE(is_kernel_path("/" + std::string(kMaxName + 1, 'n')));
  std::string longest;
  while (longest.size() + 5 <= kMaxPath) longest += "/1234";
  EXPECT_TRUE(is_kernel_path(longest));
  EXPECT_FALSE(is_kernel_path(longest + "/1"));
}

TEST(Bounds, RangesDoNotOverflow) {
  EXPECT_TRUE(is_user_range(0, kTaskSize));
  EXPECT_TRUE(is_user_range(kTaskSize, 0));
  EXPECT_FALSE(is_user_range(1, kTaskSize));
  EXPECT_FALSE(is_user_range(UINT64_MAX, 2));
  EXPECT_FALSE(is_user_range(4096, UINT64_MAX - 4095));
}

TEST(Bounds, Numbers) {
  EXPECT_TRUE(is_pid(1) && is_pid(1 << 22));
  EXPECT_FALSE(is_pid(0) || is_pid(-1) || is_pid((1 << 22) + 1));
  EXPECT_TRUE(is_signal(1) && is_signal(64) && is_signal_or_none(0));
  EXPECT_FALSE(is_signal(0) || is_signal(65) || is_signal_or_none(-1));
}

}  // namespace
}  // namespace mcr::bounds
