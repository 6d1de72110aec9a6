#include "core/sys/event_file.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr unsigned long kSetTicks = _IOW('T', 0, uint64_t);

timespec to_timespec(int64_t ns) {
  return {ns / kSecond, ns % kSecond};
}
int64_t to_ns(const timespec& time) {
  return time.tv_sec * kSecond + time.tv_nsec;
}

enum Answer { kCounts, kIsSemaphore, kFailed };

// A plain counter gives all that it has, a semaphore gives 1: so it needs at least 2 to tell them apart.
Answer try_counter(int counter, uint64_t count) {
  const uint64_t more = count < 2 ? 2 - count : 0;
  if (more > 0 && ::write(counter, &more, sizeof more) != sizeof more) return kFailed;
  const auto take = [counter](uint64_t& value) {
    const iovec part{&value, sizeof value};
    return ::preadv2(counter, &part, 1, -1, RWF_NOWAIT) == sizeof value;
  };
  uint64_t value = 0, rest = 0;
  if (!take(value)) return kFailed;
  const Answer answer = value == 1 ? kIsSemaphore : kCounts;
  if (answer == kIsSemaphore && count == 0 && !take(rest)) return kFailed;
  const uint64_t back = answer == kIsSemaphore ? (count >= 2 ? 1 : 0) : count;
  if (back > 0 && ::write(counter, &back, sizeof back) != sizeof back) return kFailed;
  return answer;
}

}  // namespace

UniqueFd make_event_counter(uint64_t value, bool is_semaphore) {
  UniqueFd fd(check(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (is_semaphore ? EFD_SEMAPHORE : 0)), "eventfd"));
  if (value > 0) check(::write(fd.get(), &value, sizeof value), "write to an eventfd");
  return fd;
}

bool probe_semaphore(int counter, uint64_t count) {
  const pid_t child = check(::fork(), "fork");
  if (child == 0) {
    ::setsid();  // what ends our group does not end it
    ::_exit(try_counter(counter, count));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) throw_code(errno, "waitpid");
  if (!WIFEXITED(status) || WEXITSTATUS(status) >= kFailed)
    throw Error(Fault::system, "an eventfd could not be asked whether it is a semaphore");
  return WEXITSTATUS(status) == kIsSemaphore;
}

UniqueFd make_timer_file(int clock) {
  return UniqueFd(check(::timerfd_create(clock, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd_create"));
}
TimerTime timer_time(int timer) {
  itimerspec spec{};
  check(::timerfd_gettime(timer, &spec), "timerfd_gettime");
  return {to_ns(spec.it_value), to_ns(spec.it_interval)};
}
void set_timer(int timer, int flags, const TimerTime& time) {
  const itimerspec spec{to_timespec(time.interval_ns), to_timespec(time.value_ns)};
  check(::timerfd_settime(timer, flags, &spec, nullptr), "timerfd_settime");
}
void set_timer_ticks(int timer, uint64_t ticks) {
  check(::ioctl(timer, kSetTicks, &ticks), "ioctl(TFD_IOC_SET_TICKS)");
}

UniqueFd make_signal_file(uint64_t mask) {
  return UniqueFd(static_cast<int>(
      check(::syscall(SYS_signalfd4, -1, &mask, sizeof mask, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd4")));
}

}  // namespace mcr::sys
