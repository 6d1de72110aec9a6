// Eight threads, each inside another system call with the same time limit.
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/select.h>

#include "waiting.h"

namespace {

constexpr int64_t kWanted = 1'200'000'000;
int ends[2];
uint32_t word = 1;
volatile bool over = false;

void wait_once(int kind) {
  timespec wanted = workload::timespec_of(kWanted);
  timeval limit{1, 200'000};
  pollfd entry{ends[0], POLLIN, 0};
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(ends[0], &readable);
  timespec until = workload::timespec_of(workload::now_ns() + kWanted);
  switch (kind) {
    case 0:
      MUST_BE(nanosleep(&wanted, nullptr), 0);
      break;
    case 1:
      MUST_BE(clock_nanosleep(CLOCK_BOOTTIME, 0, &wanted, nullptr), 0);
      break;
    case 2:
      MUST_BE(poll(&entry, 1, 1200), 0);
      break;
    case 3:
      MUST_BE(ppoll(&entry, 1, &wanted, nullptr), 0);
      break;
    case 4:
      MUST_BE(select(ends[0] + 1, &readable, nullptr, nullptr, &limit), 0);
      break;
    case 5:
      MUST_BE(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, &wanted), -1);
      MUST_BE(errno, ETIMEDOUT);
      break;
    case 6:
      MUST_BE(pselect(ends[0] + 1, &readable, nullptr, nullptr, &wanted, nullptr), 0);
      break;
    default:
      MUST_BE(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr), 0);
      break;
  }
}

void* thread(void* argument) {
  int kind = static_cast<int>(reinterpret_cast<intptr_t>(argument));
  int64_t starts[128], stops[128];
  int count = 0;
  while (count < 128) {
    starts[count] = workload::now_ns();
    wait_once(kind);
    stops[count] = workload::now_ns();
    ++count;
    if (over) break;
  }
  for (int i = 0; i < count && kind != 7; ++i) workload::check_duration(starts[i], stops[i], kWanted);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  MUST(pipe(ends) == 0);
  pthread_t threads[8];
  for (intptr_t i = 0; i < 8; ++i) MUST(pthread_create(&threads[i], nullptr, thread, reinterpret_cast<void*>(i)) == 0);
  workload::ready("settle 600\n");
  workload::wait_for_end();
  over = true;
  for (auto& each : threads) pthread_join(each, nullptr);
  return workload::passed();
}
