// Scheduling policies with their flags and parameters, a thread each; I/O priorities of all classes, timer slack.
#include <pthread.h>
#include <sys/prctl.h>

#include "contract.h"

namespace {

struct Attributes {  // struct sched_attr
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
  uint32_t util_min, util_max;
};
struct Case {
  Attributes attributes;
  int io_priority;
  unsigned long slack;
};
constexpr uint64_t kMs = 1'000'000;
constexpr Case kCases[] = {
    {{56, SCHED_OTHER, 0, 3, 0, 0, 0, 0, 0, 0}, 0, 0},
    {{56, SCHED_OTHER, 0, 0, 0, 7 * kMs, 0, 0, 0, 0}, 2 << 13 | 7, 12345},  // a slice of its own
    {{56, SCHED_BATCH, 1 /* RESET_ON_FORK */, 5, 0, 0, 0, 0, 0, 0}, 2 << 13 | 0, 1},
    {{56, SCHED_IDLE, 0, 0, 0, 0, 0, 0, 0, 0}, 3 << 13, 999'999'999},
    {{56, SCHED_FIFO, 1, 0, 5, 0, 0, 0, 0, 0}, 1 << 13 | 4, 0},
    {{56, SCHED_RR, 0, 0, 99, 0, 0, 0, 0, 0}, 1 << 13, 0},
    {{56, 6 /* SCHED_DEADLINE */, 2 | 4 /* RECLAIM, DL_OVERRUN */, 0, 0, 2 * kMs, 30 * kMs, 40 * kMs, 0, 0}, 0, 0},
};
constexpr int kThreads = std::size(kCases);
pthread_barrier_t set_up, over;

struct Found {
  Attributes attributes;
  long io_priority, slack;
};

Found found() {
  Found now{};
  MUST(syscall(SYS_sched_getattr, 0, &now.attributes, sizeof now.attributes, 0) == 0);
  now.io_priority = syscall(SYS_ioprio_get, 1, 0);
  now.slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
  return now;
}

void* work(void* argument) {
  const auto& wanted = *static_cast<const Case*>(argument);
  const Attributes attributes = wanted.attributes;
  if (syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) {
    if (errno == EPERM || errno == EBUSY) workload::skip("this machine does not allow real-time policies");
    workload::fail("policy %u: %s", attributes.policy, strerror(errno));
  }
  if (wanted.io_priority) MUST(syscall(SYS_ioprio_set, 1, 0, wanted.io_priority) == 0);
  if (wanted.slack) MUST(prctl(PR_SET_TIMERSLACK, wanted.slack, 0, 0, 0) == 0);
  const Found before = found();
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  const Found now = found();
  MUST_BE(now.attributes.policy, before.attributes.policy);
  MUST_BE(now.attributes.flags, before.attributes.flags);
  MUST_BE(now.attributes.nice, before.attributes.nice);
  MUST_BE(now.attributes.priority, before.attributes.priority);
  MUST_BE(now.attributes.runtime, before.attributes.runtime);
  MUST_BE(now.attributes.deadline, before.attributes.deadline);
  MUST_BE(now.attributes.period, before.attributes.period);
  MUST_BE(now.io_priority, before.io_priority);
  MUST_BE(now.slack, before.slack);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_barrier_init(&set_up, nullptr, kThreads + 1);
  pthread_barrier_init(&over, nullptr, kThreads + 1);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i)
    MUST(pthread_create(&threads[i], nullptr, work, const_cast<Case*>(&kCases[i])) == 0);
  pthread_barrier_wait(&set_up);
  workload::ready();
  workload::wait_for_end();
  pthread_barrier_wait(&over);
  for (auto& thread : threads) MUST(pthread_join(thread, nullptr) == 0);
  return workload::passed();
}
