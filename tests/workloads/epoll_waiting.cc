// Four threads inside epoll_wait on one epoll: without an end, and with a time limit.
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "contract.h"

using namespace workload;

namespace {

int epoll, counter;

void* wait(void* limit) {
  epoll_event event{};
  int got;
  do got = epoll_wait(epoll, &event, 1, static_cast<int>(reinterpret_cast<intptr_t>(limit)));
  while (got < 0 && errno == EINTR);
  if (got != 1 || event.data.u64 != 9) return nullptr;
  uint64_t value = 0;
  return read(counter, &value, sizeof value) == sizeof value ? limit : nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  epoll = epoll_create1(0);
  counter = eventfd(0, EFD_SEMAPHORE);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 9;
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, counter, &event) == 0);
  pthread_t threads[4];
  for (intptr_t i = 0; i < 4; ++i)
    MUST(pthread_create(&threads[i], nullptr, wait, reinterpret_cast<void*>(i < 2 ? -1 : 3'600'000)) == 0);
  sleep_ms(30);
  ready();
  wait_for_end();
  const uint64_t all = 4;
  MUST_BE(write(counter, &all, sizeof all), sizeof all);
  for (const pthread_t thread : threads) {
    void* result = nullptr;
    MUST(pthread_join(thread, &result) == 0);
    MUST(result != nullptr);
  }
  return passed();
}
