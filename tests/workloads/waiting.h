// For workloads that are inside one system call when they are dumped.
#pragma once

#include <pthread.h>

#include "contract.h"

namespace workload {

inline constexpr int64_t kEarlyNs = 20'000'000, kLateNs = 350'000'000;

// Checks that a wait of `wanted` ns from `start` to `end` took as long as it should have.
inline void check_duration(int64_t start, int64_t end, int64_t wanted) {
  Gone gone = gone_between(start, end);
  int64_t took = end - start;
  if (took < wanted + gone.least - kEarlyNs)
    fail("the wait of %.3f s took %.3f s only (gone for %.3f to %.3f s)", wanted / 1e9, took / 1e9, gone.least / 1e9,
         gone.most / 1e9);
  if (took > wanted + gone.most + kLateNs)
    fail("the wait of %.3f s took %.3f s (gone for %.3f to %.3f s)", wanted / 1e9, took / 1e9, gone.least / 1e9,
         gone.most / 1e9);
}

// Repeats a wait of `wanted` ns until SIGTERM is pending, then checks how long each took. wait() checks its own result.
template <typename Wait>
int repeat_wait(int64_t wanted, Wait wait) {
  struct Interval {
    int64_t start, end;
  };
  static Interval intervals[256];
  int count = 0;
  ready("settle 600\n");
  while (count < 256) {
    int64_t start = now_ns();
    wait();
    intervals[count++] = {start, now_ns()};
    if (end_requested()) break;
  }
  wait_for_end();
  for (int i = 0; i < count; ++i) check_duration(intervals[i].start, intervals[i].end, wanted);
  return passed();
}

// SIGTERM gets a handler and is let through; `term_seen` tells that it ran.
inline volatile sig_atomic_t term_seen = 0;
inline void let_term_through(
    void (*handler)(int) = [](int) { term_seen = 1; }, int flags = 0) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(SIGTERM, &action, nullptr);
}
inline void unblock_term() {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  pthread_sigmask(SIG_UNBLOCK, &term, nullptr);
}

}  // namespace workload
