#include <gtest/gtest.h>

#include "core/procfs/numa_policy.h"

namespace mcr::procfs {
namespace {

using Nodes = std::vector<uint64_t>;

TEST(NumaPolicy, AsTheKernelPrintsIt) {
  EXPECT_EQ(parse_numa_policy("55a48ab04000 default file=/usr/bin/python3.11 mapped=1 N0=1"), NumaPolicy());
  EXPECT_EQ(parse_numa_policy("7f00 prefer:0 anon=1"), (NumaPolicy{1, Nodes{1}}));
  EXPECT_EQ(parse_numa_policy("7f00 prefer (many):0,2 anon=1"), (NumaPolicy{5, Nodes{5}}));
  EXPECT_EQ(parse_numa_policy("7f00 bind:0-3 anon=1"), (NumaPolicy{2, Nodes{15}}));
  EXPECT_EQ(parse_numa_policy("7f00 weighted interleave:64"), (NumaPolicy{6, Nodes{0, 1}}));
  EXPECT_EQ(parse_numa_policy("7f00 local"), (NumaPolicy{4, {}}));
  EXPECT_EQ(parse_numa_policy("7f00 bind=static:1 stack"), (NumaPolicy{2 | 1u << 15, Nodes{2}}));
  EXPECT_EQ(parse_numa_policy("7f00 interleave=relative:0"), (NumaPolicy{3 | 1u << 14, Nodes{1}}));
  EXPECT_EQ(parse_numa_policy("7f00 bind=static|balancing:0"), (NumaPolicy{2 | 1u << 15 | 1u << 13, Nodes{1}}));
}

TEST(NumaPolicy, WhatItCannotBe) {
  for (const char* line :
       {"", "7f00", "7f00 ", "7f00 other:0", "7f00 bind:", "7f00 bind:x", "7f00 bind:3-1", "7f00 bind:0-99999999",
        "7f00 bind:1024", "7f00 bind=odd:0", "7f00 bind:0,", "7f00 bind:0;1"})
    EXPECT_EQ(parse_numa_policy(line), std::nullopt) << line;
}

}  // namespace
}  // namespace mcr::procfs
