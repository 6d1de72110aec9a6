// Timers of timerfd_create(2) on every clock: for a duration and for a moment, with an interval, with expiries that
// nobody has read, not armed; one that parent and child share.
#include <sys/timerfd.h>

#include <vector>

#include "family.h"
#include "waiting.h"

using namespace workload;

namespace {

constexpr int64_t kMs = 1'000'000, kSecond = 1'000'000'000;

int make(int clock, int flags, int64_t value, int64_t interval, int make_flags = TFD_NONBLOCK) {
  const int fd = timerfd_create(clock, make_flags);
  MUST(fd >= 0);
  const itimerspec spec{timespec_of(interval), timespec_of(value)};
  MUST(timerfd_settime(fd, flags, &spec, nullptr) == 0);
  return fd;
}

itimerspec time_of(int fd) {
  itimerspec spec{};
  MUST(timerfd_gettime(fd, &spec) == 0);
  return spec;
}

uint64_t take(int fd) {
  uint64_t ticks = 0;
  const ssize_t got = read(fd, &ticks, sizeof ticks);
  if (got < 0 && errno == EAGAIN) return 0;
  MUST_BE(got, sizeof ticks);
  return ticks;
}

// The time that a duration which began at `start` has lost by now: the program was not there for a part of it.
void expect_left(int fd, int64_t wanted, int64_t start) {
  const int64_t now = now_ns(), left = ns_of(time_of(fd).it_value);
  const Gone gone = gone_between(start, now);
  const int64_t most = wanted - (now - start) + gone.most, least = wanted - (now - start) + gone.least;
  if (left < least - kLateNs || left > most + kEarlyNs)
    fail("of %.3f s there are %.3f s left, not %.3f to %.3f s", wanted / 1e9, left / 1e9, least / 1e9, most / 1e9);
}

void expect_moment(int fd, int clock, int64_t moment) {
  const int64_t left = ns_of(time_of(fd).it_value), wanted = moment - now_ns(clock);
  if (left < wanted - kEarlyNs || left > wanted + kEarlyNs)
    fail("the moment on clock %d comes in %.3f s, not in %.3f s", clock, left / 1e9, wanted / 1e9);
}

void expect_ticks(uint64_t ticks, int64_t start, int64_t interval) {
  const int64_t now = now_ns();
  const Gone gone = gone_between(start, now);
  const int64_t least = (now - start - gone.most - kLateNs) / interval,
                most = (now - start - gone.least) / interval + 1;
  if (static_cast<int64_t>(ticks) < least || static_cast<int64_t>(ticks) > most)
    fail("%llu expiries, not %lld to %lld", static_cast<unsigned long long>(ticks), static_cast<long long>(least),
         static_cast<long long>(most));
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const int64_t start = now_ns();
  std::vector<int> durations;
  for (const int clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME})
    durations.push_back(make(clock, 0, 3600 * kSecond, 0));
  int alarm = timerfd_create(CLOCK_BOOTTIME_ALARM, TFD_NONBLOCK);  // needs a right
  if (alarm >= 0) {
    close(alarm);
    durations.push_back(make(CLOCK_BOOTTIME_ALARM, 0, 3600 * kSecond, 0));
    durations.push_back(make(CLOCK_REALTIME_ALARM, 0, 3600 * kSecond, 0));
  }
  const int64_t real_moment = now_ns(CLOCK_REALTIME) + 1800 * kSecond, moment = now_ns() + 900 * kSecond;
  const int at_real = make(CLOCK_REALTIME, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, real_moment, 60 * kSecond);
  const int at = make(CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, moment, 0);
  const int idle = make(CLOCK_MONOTONIC, 0, 0, 0), once = make(CLOCK_MONOTONIC, 0, 20 * kMs, 0, TFD_CLOEXEC);
  const int ticking = make(CLOCK_MONOTONIC, 0, 5 * kMs, 5 * kMs),
            slow = make(CLOCK_BOOTTIME, 0, 40 * kMs, 3600 * kSecond);
  const int fast = make(CLOCK_MONOTONIC, 0, 1, 2000);
  const int shared = make(CLOCK_MONOTONIC, 0, 30 * kMs, 10 * kMs, 0);
  const pid_t child = fork_child([&] {
    nursery.grown();
    wait_for_end();
    _exit(take(shared) > 0 ? 4 : 20);
  });
  nursery.expect(1);
  sleep_ms(100);
  ready();
  wait_for_end();
  for (const int fd : durations) expect_left(fd, 3600 * kSecond, start);
  expect_moment(at_real, CLOCK_REALTIME, real_moment);
  expect_moment(at, CLOCK_MONOTONIC, moment);
  MUST_BE(take(at_real), 0);
  MUST_BE(ns_of(time_of(at_real).it_interval), 60 * kSecond);
  MUST_BE(ns_of(time_of(idle).it_value), 0);
  MUST_BE(take(idle), 0);
  MUST_BE(take(once), 1);
  MUST_BE(ns_of(time_of(once).it_value), 0);
  MUST_BE(fcntl(once, F_GETFD), FD_CLOEXEC);
  MUST_BE(fcntl(once, F_GETFL), O_RDWR);
  MUST_BE(fcntl(idle, F_GETFL), O_RDWR | O_NONBLOCK);
  expect_ticks(take(ticking), start, 5 * kMs);
  MUST(take(fast) > 1000);
  MUST_BE(take(slow), 1);
  MUST_BE(ns_of(time_of(slow).it_interval), 3600 * kSecond);
  expect_left(slow, 3600 * kSecond + 40 * kMs, start);
  expect_end(child, 4);
  sleep_ms(15);
  MUST(take(shared) > 0);
  expect_childless();
  return passed();
}
