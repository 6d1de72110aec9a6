// Parsers of timers, limits, syscall and sched: captured text of Linux 6.18, and this process itself.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "core/base/error.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"

namespace mcr::procfs {

TEST(ParseTimers, ReadsEveryKind) {
  const std::vector<Timer> timers = parse_timers(
      "ID: 3\nsignal: 10/0000000000001234\nnotify: signal/pid.4585\nClockID: -6\n"
      "ID: 2\nsignal: 35/ffffffffffffffff\nnotify: signal/tid.4586\nClockID: 1\n"
      "ID: 1\nsignal: 0/0000000000000000\nnotify: none/pid.4585\nClockID: 1\n"
      "ID: 0\nsignal: 34/0x12\nnotify: thread/pid.4585\nClockID: 0\n");
  ASSERT_EQ(timers.size(), 4U);
  EXPECT_EQ(timers[0].id, 3);
  EXPECT_EQ(timers[0].signal, 10);
  EXPECT_EQ(timers[0].value, 0x1234U);
  EXPECT_EQ(timers[0].notify, SIGEV_SIGNAL);
  EXPECT_EQ(timers[0].target, 4585);
  EXPECT_FALSE(timers[0].target_is_thread);
  EXPECT_EQ(timers[0].clock, -6);
  EXPECT_EQ(timers[1].value, UINT64_MAX);
  EXPECT_EQ(timers[1].notify, SIGEV_THREAD_ID);
  EXPECT_TRUE(timers[1].target_is_thread);
  EXPECT_EQ(timers[1].target, 4586);
  EXPECT_EQ(timers[2].notify, SIGEV_NONE);
  EXPECT_EQ(timers[3].notify, SIGEV_THREAD);
  EXPECT_EQ(timers[3].value, 0x12U);
  EXPECT_TRUE(parse_timers("").empty());
}

TEST(ParseTimers, RefusesWhatItCannotRead) {
  for (const char* text :
       {"ID: 3\n", "ID: x\n", "ID: 1\nsignal: 1/2\nnotify: signal/pid.1\n", "signal: 1/2\n",
        "ID: 1\nsignal: 1\nnotify: signal/pid.1\nClockID: 0\n", "ID: 1\nsignal: 1/2\nnotify: smoke/pid.1\nClockID: 0\n",
        "ID: 1\nsignal: 1/2\nnotify: signal/gid.1\nClockID: 0\n"})
    EXPECT_THROW(parse_timers(text), Error) << text;
}

TEST(ParseTimers, AgreesWithThisProcess) {
  if (!sys::try_read_text("/proc/self/timers")) GTEST_SKIP() << "the kernel has no CONFIG_CHECKPOINT_RESTORE";
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR1;
  event.sigev_value.sival_ptr = &event;
  event._sigev_un._tid = gettid();
  int id = -1;
  ASSERT_EQ(syscall(SYS_timer_create, CLOCK_BOOTTIME, &event, &id), 0);
  const std::vector<Timer> timers = parse_timers(sys::read_text("/proc/self/timers"));
  syscall(SYS_timer_delete, id);
  ASSERT_EQ(timers.size(), 1U);
  EXPECT_EQ(timers[0].id, id);
  EXPECT_EQ(timers[0].signal, SIGUSR1);
  EXPECT_EQ(timers[0].value, reinterpret_cast<uint64_t>(&event));
  EXPECT_EQ(timers[0].notify, SIGEV_THREAD_ID);
  EXPECT_EQ(timers[0].target, gettid());
  EXPECT_EQ(timers[0].clock, CLOCK_BOOTTIME);
}

TEST(ParseLimits, AgreesWithGetrlimit) {
  const std::vector<Limit> limits = parse_limits(sys::read_text("/proc/self/limits"));
  ASSERT_EQ(limits.size(), static_cast<size_t>(RLIM_NLIMITS));
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
    rlimit actual = {};
    ASSERT_EQ(getrlimit(static_cast<__rlimit_resource>(resource), &actual), 0);
    const Limit& limit = limits[static_cast<size_t>(resource)];
    EXPECT_EQ(limit.resource, resource);
    EXPECT_EQ(limit.soft, actual.rlim_cur) << resource;
    EXPECT_EQ(limit.hard, actual.rlim_max) << resource;
  }
}

TEST(ParseLimits, UnlimitedAndTheFullWidthOfAColumn) {
  std::string text = sys::read_text("/proc/self/limits");
  const auto replace = [&text](std::string_view name, std::string_view values) {
    const size_t start = text.find(name);
    text.replace(start, text.find('\n', start) - start, fmt::format("{:<25} {}", name, values));
  };
  replace("Max file size", "18446744073709551614 unlimited            bytes     ");
  replace("Max nice priority", "0                    18446744073709551614 ");
  const std::vector<Limit> limits = parse_limits(text);
  EXPECT_EQ(limits[RLIMIT_FSIZE].soft, UINT64_MAX - 1);
  EXPECT_EQ(limits[RLIMIT_FSIZE].hard, uint64_t{RLIM_INFINITY});
  EXPECT_EQ(limits[RLIMIT_NICE].hard, UINT64_MAX - 1);
}

TEST(ParseLimits, RefusesWhatItCannotRead) {
  const std::string text = sys::read_text("/proc/self/limits");
  EXPECT_THROW(parse_limits(""), Error);
  EXPECT_THROW(parse_limits(text.substr(0, text.rfind("Max realtime timeout"))), Error);
  EXPECT_THROW(parse_limits(text + "Max good luck             1 1 \n"), Error);
  EXPECT_THROW(parse_limits(text + "Max cpu time              1unlimited seconds\n"), Error);
}

TEST(ParseSyscall, AllThreeForms) {
  EXPECT_FALSE(parse_syscall("running\n").has_value());
  const auto blocked =
      parse_syscall("230 0x0 0x1 0x7ffe27095a00 0x3 0x4 0xffffffffffffffff 0x7ffe270959e8 0x7ff4a8378503\n");
  ASSERT_TRUE(blocked.has_value());
  EXPECT_EQ(blocked->number, 230);
  EXPECT_EQ(blocked->args, (std::array<uint64_t, 6>{0, 1, 0x7ffe27095a00, 3, 4, UINT64_MAX}));
  EXPECT_EQ(blocked->stack_pointer, 0x7ffe270959e8U);
  EXPECT_EQ(blocked->program_counter, 0x7ff4a8378503U);
  const auto outside = parse_syscall("-1 0x7ffda150d9a8 0x7f5b4f20a2ad\n");
  ASSERT_TRUE(outside.has_value());
  EXPECT_EQ(outside->number, -1);
  EXPECT_EQ(outside->stack_pointer, 0x7ffda150d9a8U);
  EXPECT_EQ(outside->program_counter, 0x7f5b4f20a2adU);
}

TEST(ParseSyscall, RefusesWhatItCannotRead) {
  for (const char* text : {"", "\n", "walking", "-1", "-1 0x1", "0 0x0 0x0 0x0 0x0 0x0 0x0 0x1", "0 1 2 3 4 5 6 7 8",
                           "-1 0x1 0x2 0x3", "99999999999999999999 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2"})
    EXPECT_THROW(parse_syscall(text), Error) << text;
}

TEST(ParseSyscall, AgreesWithThisProcess) {
  const auto state = parse_syscall(sys::read_text("/proc/thread-self/syscall"));
  ASSERT_TRUE(state.has_value());
  EXPECT_TRUE(state->number == SYS_read || state->number == SYS_pread64) << state->number;
}

TEST(ParseExecStart, IsInNanoseconds) {
  EXPECT_EQ(parse_exec_start_ns("cat (4556, #threads: 1)\n-----\n"
                                "se.exec_start                                :       1648852.079042\n"
                                "se.vruntime                                  :            59.023115\n"),
            1648852079042U);
  EXPECT_EQ(parse_exec_start_ns("cat (1, #threads: 1)\n"), std::nullopt);
  EXPECT_EQ(parse_exec_start_ns(""), std::nullopt);
  EXPECT_THROW(parse_exec_start_ns("se.exec_start : 5\n"), Error);
  EXPECT_THROW(parse_exec_start_ns("se.exec_start : 5.1\n"), Error);
  EXPECT_THROW(parse_exec_start_ns("se.exec_start : 5.1234567\n"), Error);
  EXPECT_THROW(parse_exec_start_ns("se.exec_start : 18446744073709551615.000001\n"), Error);
}

// The clock is that of the CPU's run queue (rq_clock_task), which leaves out interrupts and stolen time: the values of
// two CPUs cannot be compared, so the thread is held on one.
TEST(ParseExecStart, GrowsWhileThisThreadRunsOnOneCpu) {
  const auto text = sys::try_read_text("/proc/thread-self/sched");
  if (!text) GTEST_SKIP() << "the kernel has no CONFIG_SCHED_DEBUG";
  cpu_set_t all, one;
  sched_getaffinity(0, sizeof all, &all);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  sched_setaffinity(0, sizeof one, &one);
  const auto before = parse_exec_start_ns(sys::read_text("/proc/thread-self/sched"));
  const timespec pause = {0, 20'000'000};
  nanosleep(&pause, nullptr);
  const auto after = parse_exec_start_ns(sys::read_text("/proc/thread-self/sched"));
  sched_setaffinity(0, sizeof all, &all);
  ASSERT_TRUE(before.has_value() && after.has_value());
  EXPECT_GT(*after, *before);
}

}  // namespace mcr::procfs
