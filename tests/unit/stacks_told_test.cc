// What is told by a child: whatever becomes of it, whoever asked goes on.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/stacks/told.h"

namespace mcr::stacks {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

void expect_no_child() {
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(StacksTold, TextOfAnyLength) {
  for (const size_t length : {size_t{1}, size_t{70'000}, size_t{3'000'000}}) {
    const Told told = told_by_child(seconds(10), [&] { return std::string(length, 'x'); });
    ASSERT_TRUE(told.text);
    EXPECT_EQ(*told.text, std::string(length, 'x'));
  }
  expect_no_child();
}

TEST(StacksTold, AnErrorIsThrownHereWithItsPlace) {
  const Step outer("stacks");
  try {
    told_by_child(seconds(10), []() -> std::string {
      const Step step("process 7");
      throw Error(Fault::image, "mm-7.img ends at 12", "use another copy");
    });
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::image);
    EXPECT_EQ(error.reason(), "process 7: mm-7.img ends at 12");
    EXPECT_EQ(error.remedy(), "use another copy");
  }
  expect_no_child();
}

TEST(StacksTold, WhoStumblesCostsHisWordsOnly) {
  const Told by_signal = told_by_child(seconds(10), []() -> std::string {
    ::kill(::getpid(), SIGKILL);
    return "never";
  });
  EXPECT_FALSE(by_signal.text);
  EXPECT_NE(by_signal.trouble.find("stumbled"), std::string::npos) << by_signal.trouble;
  const Told by_exit = told_by_child(seconds(10), []() -> std::string { ::_exit(1); });
  EXPECT_FALSE(by_exit.text);
  expect_no_child();
}

TEST(StacksTold, WhoReadsForEverIsEnded) {
  const auto start = std::chrono::steady_clock::now();
  const Told told = told_by_child(milliseconds(1000), []() -> std::string {
    for (;;) ::pause();
  });
  EXPECT_FALSE(told.text);
  EXPECT_NE(told.trouble.find("within 1 s"), std::string::npos) << told.trouble;
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(20));
  expect_no_child();
}

TEST(StacksTold, ACommandSaysWhatIsMissing) {
  const Tell tell = [](const ProcessStacks& process) {
    return process.name + (process.missing.empty() ? ": all" : ": " + process.missing.front());
  };
  EXPECT_EQ(told_stacks(7, "cat", tell, [] { return ProcessStacks{7, "cat", false, {}, {}}; }), "cat: all");
  const std::string missing = told_stacks(7, "cat", tell, []() -> ProcessStacks { ::_exit(3); });
  EXPECT_TRUE(missing.starts_with("cat: all stacks: what the program says of itself misleads")) << missing;
  expect_no_child();
}

}  // namespace
}  // namespace mcr::stacks
