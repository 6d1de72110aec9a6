// Id types, RemoteAddr, UniqueFd and Damage.
#include "core/base/ids.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <type_traits>

#include "core/base/damage.h"
#include "core/base/unique_fd.h"

namespace mcr {
namespace {

bool is_open(int fd) {
  return fcntl(fd, F_GETFD) >= 0;
}
int open_null() {
  return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

}  // namespace

static_assert(!std::is_convertible_v<HostPid, NsPid> && !std::is_convertible_v<HostPid, HostTid>);
static_assert(!std::is_convertible_v<int, HostPid> && !std::is_convertible_v<HostPid, int>);

TEST(Id, ComparesAndPrintsAsItsNumber) {
  EXPECT_EQ(HostPid(3), HostPid(3));
  EXPECT_LT(HostPid(3), HostPid(4));
  EXPECT_EQ(fmt::format("{}", NsPid(17)), "17");
  EXPECT_EQ(HostPid().get(), 0);
}

TEST(RemoteAddr, AddsAndPrintsHexadecimal) {
  EXPECT_EQ((RemoteAddr(0x1000) + 0x10).get(), 0x1010U);
  EXPECT_EQ(fmt::format("{}", RemoteAddr(0x7f00)), "0x7f00");
}

TEST(UniqueFd, ClosesOnceAndMoves) {
  const int number = open_null();
  {
    UniqueFd first(number);
    UniqueFd second(std::move(first));
    EXPECT_EQ(second.get(), number);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, AssignmentClosesTheOldOne) {
  const int old_number = open_null(), new_number = open_null();
  UniqueFd fd(old_number);
  fd = UniqueFd(new_number);
  EXPECT_FALSE(is_open(old_number));
  EXPECT_EQ(fd.get(), new_number);
  EXPECT_EQ(fd.release(), new_number);
  EXPECT_FALSE(fd.valid());
  EXPECT_TRUE(is_open(new_number));
  close(new_number);
}

TEST(Damage, RemembersEveryEvent) {
  Damage damage;
  EXPECT_FALSE(damage.any());
  damage.record("pid 7 not detached");
  EXPECT_TRUE(damage.any());
  EXPECT_EQ(damage.events(), std::vector<std::string>{"pid 7 not detached"});
}

}  // namespace mcr
