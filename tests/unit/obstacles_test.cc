#include "core/base/obstacles.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/engine/host_cpu.h"
#include "tools/check_report.h"

namespace mcr {
namespace {

void refuse(const char* reason) {
  throw Error(Fault::refused, reason, "a remedy");
}

TEST(Obstacles, WhoeverWantsTheFirstGetsItAtOnce) {
  Obstacles first;
  EXPECT_TRUE(first.pass([] {}));
  EXPECT_THROW(first.pass([] { refuse("one"); }), Error);
  EXPECT_FALSE(first.any());
}

TEST(Obstacles, AllAreCollectedWithWhatTheyAreAbout) {
  const Step outer("not part of the name");
  Obstacles all(Obstacles::Wanted::all);
  {
    const Obstacles::About process(all, HostPid(7));
    const Step step("process 7");
    EXPECT_FALSE(all.pass([&] {
      const Obstacles::About descriptor(all, 3);
      const Step inner("fd 3");
      EXPECT_FALSE(all.pass([] { refuse("one"); }));
      EXPECT_TRUE(all.pass([] {}));
      refuse("two");
    }));
  }
  EXPECT_FALSE(all.pass([] { refuse("three"); }));
  ASSERT_EQ(all.count(), 3u);
  EXPECT_EQ(all.found()[0].problem.object, "process 7 > fd 3");
  EXPECT_EQ(all.found()[0].pid, HostPid(7));
  EXPECT_EQ(all.found()[0].fd, 3);
  EXPECT_EQ(all.found()[1].problem.reason, "two");
  EXPECT_EQ(all.found()[1].fd, -1);  // it was noted when the descriptor was done with
  EXPECT_EQ(all.found()[2].problem.object, "the tree");
  EXPECT_EQ(all.found()[2].pid, HostPid(0));
  EXPECT_THROW(all.throw_if_any(), ProblemList);
  all.forget_since(1);
  EXPECT_EQ(all.count(), 1u);
  all.forget();
  all.throw_if_any();
}

TEST(Obstacles, WhatIsNoneIsThrownOn) {
  Obstacles all(Obstacles::Wanted::all);
  EXPECT_THROW(all.pass([] { throw Error(Fault::timeout, "late"); }), Error);
  EXPECT_THROW(all.pass([] { throw Error(Fault::image, "damaged"); }), Error);
  EXPECT_FALSE(all.any());
}

TEST(CheckReport, NamesOfTheProgramDoNotReachTheTerminalAsTheyAre) {
  engine::TreeReport report;
  auto& process = report.processes.emplace_back();
  process.pid = HostPid(4711), process.command = "evil\033[2J\n4712";
  report.obstacles.push_back({{"fd 3 /tmp/\033]0;x\a", "it \033[31m is", "do\nthis"}, HostPid(4711), 3});
  const std::string text = cli::tree_text(report, {}), json = cli::tree_json(report);
  EXPECT_EQ(text.find('\033'), std::string::npos) << text;
  EXPECT_EQ(text.find('\a'), std::string::npos) << text;
  EXPECT_NE(text.find("1 thing stands in the way of a dump."), std::string::npos) << text;
  EXPECT_NE(json.find("\"fd\":3"), std::string::npos) << json;
  EXPECT_NE(json.find("\"pid\":4711"), std::string::npos) << json;
}

TEST(HostCpu, FlagsAreFound) {
  std::string vendor, model;
  const auto flags = engine::cpu_flags(vendor, model);
  EXPECT_NE(std::ranges::find(flags, "sse2"), flags.end());
  EXPECT_GT(flags.size(), 20u);
  EXPECT_FALSE(vendor.empty());
}

TEST(Forecast, GrowsWithEachAmount) {
  engine::Amounts one{.processes = 1, .threads = 1, .mappings = 20, .descriptors = 3, .private_bytes = 1 << 20};
  const engine::Forecast base = engine::forecast(one);
  EXPECT_GT(base.image_bytes, one.private_bytes);
  EXPECT_LT(base.live_us, base.pause_us);
  one.private_bytes <<= 10;
  const engine::Forecast large = engine::forecast(one);
  EXPECT_GT(large.pause_us, 100 * base.pause_us);  // memory is what it waits for
  EXPECT_LT(large.live_us, 20 * base.live_us);     // --live does not
  EXPECT_GT(large.total_us, large.pause_us);
}

}  // namespace
}  // namespace mcr
