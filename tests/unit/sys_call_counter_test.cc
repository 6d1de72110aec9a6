// The calls that can change mappings, counted from outside: none while a program does other things, and not none once
// it has made one, in any of its threads.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "core/sys/call_counter.h"

namespace {

// Answers each byte with the same byte, after what it asks for: 'n' nothing, 'm' madvise(2), 't' the same by a thread.
[[noreturn]] void serve(int in, int out) {
  char byte = 0;
  while (read(in, &byte, 1) == 1) {
    alignas(4096) static char page[4096];
    const auto advise = [] { madvise(page, sizeof page, MADV_NORMAL); };
    if (byte == 'm') advise();
    if (byte == 't') std::thread(advise).join();
    if (write(out, &byte, 1) != 1) break;
  }
  _exit(0);
}

class CallCounter : public testing::Test {
 protected:
  void SetUp() override {
    int there[2], back[2];
    ASSERT_EQ(pipe(there), 0);
    ASSERT_EQ(pipe(back), 0);
    child_ = fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      close(there[1]), close(back[0]);  // or it would never read an end
      serve(there[0], back[1]);
    }
    close(there[0]), close(back[1]);
    to_ = there[1], from_ = back[0];
    ask('t');  // the allocator has what it wants
    counter_ = mcr::sys::MappingCallCounter::begin(mcr::HostPid(child_));
    if (!counter_) GTEST_SKIP() << "calls cannot be counted here (CAP_PERFMON, tracefs)";
  }
  void TearDown() override {
    close(to_), close(from_);
    waitpid(child_, nullptr, 0);
  }
  void ask(char what) {
    char byte = 0;
    ASSERT_EQ(write(to_, &what, 1), 1);
    ASSERT_EQ(read(from_, &byte, 1), 1);
  }

  pid_t child_ = -1;
  int to_ = -1, from_ = -1;
  std::optional<mcr::sys::MappingCallCounter> counter_;
};

TEST_F(CallCounter, CountsNothingElse) {
  for (int i = 0; i < 100; ++i) ask('n');
  EXPECT_TRUE(counter_->has_counted_none());
}

TEST_F(CallCounter, CountsTheFirst) {
  ask('m');
  EXPECT_FALSE(counter_->has_counted_none());
}

TEST_F(CallCounter, CountsThoseOfThreadsThatAreMadeLater) {
  ask('t');
  EXPECT_FALSE(counter_->has_counted_none());
}

// The filter takes a while to be set, in which other calls must not count.
TEST_F(CallCounter, CountsNothingOfAProgramThatCallsAllTheTime) {
  const pid_t busy = fork();
  ASSERT_GE(busy, 0);
  if (busy == 0)
    for (;;) getppid();
  bool is_clean = true;
  for (int i = 0; i < 20 && is_clean; ++i) {
    const auto counter = mcr::sys::MappingCallCounter::begin(mcr::HostPid(busy));
    is_clean = counter && counter->has_counted_none();
  }
  kill(busy, SIGKILL);
  waitpid(busy, nullptr, 0);
  EXPECT_TRUE(is_clean);
}

TEST_F(CallCounter, SaysNoOfAProcessThatIsGone) {
  EXPECT_FALSE(mcr::sys::MappingCallCounter::begin(mcr::HostPid(1 << 30)));
}

}  // namespace
