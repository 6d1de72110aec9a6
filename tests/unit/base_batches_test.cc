#include "core/base/batches.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>

namespace mcr {
namespace {

const auto count_to = [](int count) {
  return [count](const auto& take) {
    for (int i = 0; i < count; ++i) take(i);
  };
};

struct Stretch {
  size_t first = 0;
  std::vector<int> items;
};

const auto keep = [](size_t first, const std::vector<int>& items) { return Stretch{first, items}; };

class Batches : public ::testing::TestWithParam<bool> {};

TEST_P(Batches, AllComeOnceAndInOrder) {
  for (const int count : {0, 1, 9, 10, 11, 1000}) {
    const auto results = by_batches<int, Stretch>(10, GetParam(), count_to(count), keep);
    std::vector<int> all, expected(static_cast<size_t>(count));
    for (const Stretch& some : results) {
      EXPECT_EQ(some.first, all.size());
      EXPECT_LE(some.items.size(), 10u);
      all.insert(all.end(), some.items.begin(), some.items.end());
    }
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);
  }
}

TEST_P(Batches, WhatTheWorkThrowsIsThrown) {
  const auto fail_late = [](size_t first, const std::vector<int>&) -> int {
    if (first == 50) throw std::runtime_error("the sixth");
    return 0;
  };
  EXPECT_THROW((by_batches<int, int>(10, GetParam(), count_to(1000), fail_late)), std::runtime_error);
}

TEST_P(Batches, WhatTheListThrowsIsThrown) {
  const auto list = [](const auto& take) {
    for (int i = 0; i < 25; ++i) take(i);
    throw std::runtime_error("gone");
  };
  EXPECT_THROW((by_batches<int, Stretch>(10, GetParam(), list, keep)), std::runtime_error);
}

// The list waits for work on the first batch: only another thread can do that.
TEST(BatchesByTwo, TheOtherThreadBeginsBeforeAllIsListed) {
  std::atomic<bool> has_begun = false;
  const auto list = [&](const auto& take) {
    for (int i = 0; i < 10; ++i) take(i);
    while (!has_begun) std::this_thread::yield();
    take(10);
  };
  const auto work = [&](size_t, const std::vector<int>& items) { return has_begun = true, items.size(); };
  EXPECT_EQ((by_batches<int, size_t>(10, true, list, work)), (std::vector<size_t>{10, 1}));
}

INSTANTIATE_TEST_SUITE_P(ByOneAndByTwo, Batches, ::testing::Bool());

}  // namespace
}  // namespace mcr
