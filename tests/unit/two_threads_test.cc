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

}  // namespace
}  // namespace mcr
