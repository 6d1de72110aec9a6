// Error, Step and ProblemList.
#include "core/base/error.h"

#include <gtest/gtest.h>

#include <thread>

namespace mcr {

TEST(Error, CarriesTheOpenSteps) {
  const Step dump("dump");
  try {
    const Step pid("pid {}", 4711);
    throw Error(Fault::system, "ENOENT", "look again", 2);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "dump > pid 4711: ENOENT; look again");
    EXPECT_EQ(error.object(), "dump > pid 4711");
    EXPECT_EQ(error.trail(), (std::vector<std::string>{"dump", "pid 4711"}));
    EXPECT_EQ(error.reason(), "ENOENT");
    EXPECT_EQ(error.remedy(), "look again");
    EXPECT_EQ(error.code(), 2);
    EXPECT_EQ(error.fault(), Fault::system);
  }
  EXPECT_EQ(Step::trail(), std::vector<std::string>{"dump"});
}

TEST(Error, WithoutStepsAndRemedyIsTheReasonAlone) {
  const Error error(Fault::usage, "no such option");
  EXPECT_STREQ(error.what(), "no such option");
  EXPECT_EQ(error.object(), "");
  EXPECT_EQ(error.code(), 0);
}

TEST(Error, KnowsWhereItWasThrown) {
  const Error error(Fault::internal, "x");
  EXPECT_EQ(error.place(), "base_error_test.cc:" + std::to_string(__LINE__ - 1));
}

TEST(Error, SurvivesACopy) {
  std::exception_ptr kept;
  {
    const Step step("restore");
    kept = std::make_exception_ptr(Error(Fault::image, "damaged"));
  }
  try {
    std::rethrow_exception(kept);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "restore: damaged");
  }
}

TEST(Step, TrailBelongsToTheThread) {
  const Step step("outer");
  size_t in_thread = 99;
  std::thread([&] { in_thread = Step::trail().size(); }).join();
  EXPECT_EQ(in_thread, 0U);
  EXPECT_EQ(Step::trail().size(), 1U);
}

TEST(Step, EndsWhenAnErrorPasses) {
  EXPECT_THROW(
      {
        const Step step("short");
        throw Error(Fault::system, "x");
      },
      Error);
  EXPECT_TRUE(Step::trail().empty());
}

TEST(Step, TextIsNotTakenForAFormat) {
  const std::string text = "fd 3 {}";
  const Step step(text);
  EXPECT_EQ(Step::trail().back(), text);
}

TEST(Fault, HasANameEach) {
  EXPECT_EQ(fault_name(Fault::usage), "usage");
  EXPECT_EQ(fault_name(Fault::refused), "refused");
  EXPECT_EQ(fault_name(Fault::system), "system");
  EXPECT_EQ(fault_name(Fault::image), "image");
  EXPECT_EQ(fault_name(Fault::timeout), "timeout");
  EXPECT_EQ(fault_name(Fault::internal), "internal");
}

TEST(ProblemList, IsOneLineEach) {
  const ProblemList list(Fault::refused, "2 problems", {{"pid 7", "is taken", "end it"}, {"/tmp/x", "is gone", ""}});
  EXPECT_EQ(list.problems().size(), 2U);
  EXPECT_EQ(list.problems()[0].line(), "pid 7: is taken; end it");
  EXPECT_EQ(list.problems()[1].line(), "/tmp/x: is gone");
  EXPECT_STREQ(list.what(), "2 problems\n  pid 7: is taken; end it\n  /tmp/x: is gone");
}

TEST(ProblemList, IsCaughtAsError) {
  try {
    throw ProblemList(Fault::refused, "1 problem", {{"a", "b", "c"}});
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::refused);
  }
}

}  // namespace mcr
