#include "core/engine/memory_charge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mcr::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(MemoryCharge, TheHierarchyThatCountsMemory) {
  EXPECT_EQ(memory_cgroup_of("0::/user.slice/job\n"), (procfs::CgroupLine{"", "/user.slice/job"}));
  EXPECT_EQ(memory_cgroup_of("5:cpu,memory:/a\n1:name=memory:/n\n0::/b\n"), (procfs::CgroupLine{"cpu,memory", "/a"}));
  EXPECT_EQ(memory_cgroup_of("3:cpu:/a\n0::/b\n"), (procfs::CgroupLine{"", "/b"}));
}

TEST(MemoryCharge, Limits) {
  for (const char* none : {"max\n", "9223372036854771712\n"}) EXPECT_FALSE(is_memory_limit(none)) << none;
  for (const char* limit : {"0\n", "1073741824\n", "", "-1\n", "99999999999999999999999\n"})
    EXPECT_TRUE(is_memory_limit(limit)) << limit;
}

TEST(MemoryCharge, GroupsThatWeAreNotInOurselves) {
  EXPECT_THAT(groups_of_its_own("/a/b/c", "/a"), ElementsAre("/a/b/c", "/a/b"));
  EXPECT_THAT(groups_of_its_own("/a/b", "/"), ElementsAre("/a/b", "/a"));
  EXPECT_THAT(groups_of_its_own("/a/b", "/ab/c"), ElementsAre("/a/b", "/a"));
  EXPECT_THAT(groups_of_its_own("/a", "/a/b"), IsEmpty());
  EXPECT_THAT(groups_of_its_own("/", "/a"), IsEmpty());
}

}  // namespace
}  // namespace mcr::engine
