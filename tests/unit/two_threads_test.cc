#include "core/base/two_threads.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace mcr {
namespace {

TEST(ByTwoThreads, DoesEachOnce) {
  std::vector<int> done(1000);
  by_two_threads(done.size(), 8, [&](size_t i) { ++done[i]; });
  EXPECT_EQ(done, std::vector<int>(1000, 1));
}

TEST(ByTwoThreads, LeavesFewToTheCaller) {
  std::mutex lock;
  std::set<std::thread::id> threads;
  by_two_threads(7, 8, [&](size_t) {
    const std::lock_guard guard(lock);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads, std::set<std::thread::id>{std::this_thread::get_id()});
  by_two_threads(0, 0, [&](size_t) { FAIL(); });
}

TEST(TryByTwoThreads, ThrowsWhatTheFirstThatFailedHasThrown) {
  const Step step("check");
  try {
    try_by_two_threads(1000, 8, [&](size_t i) {
      const Step of_one("object {}", i);
      if (i == 3 || i == 4) throw Error(Fault::image, "damaged");
    });
    FAIL() << "it has gone on";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "check > object 3: damaged");
  }
  EXPECT_EQ(Step::trail(), std::vector<std::string>{"check"});
}

TEST(TryByTwoThreads, DoesEachOnce) {
  std::vector<int> done(1000);
  try_by_two_threads(done.size(), 8, [&](size_t i) { ++done[i]; });
  EXPECT_EQ(done, std::vector<int>(1000, 1));
}

}  // namespace
}  // namespace mcr
