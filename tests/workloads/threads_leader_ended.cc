// The leader has ended by itself, other threads go on: it is a zombie until the last of them ends.
#include <pthread.h>

#include "contract.h"

namespace {

pid_t worker_tid;
int file = -1, widowed[2];
volatile uint64_t rounds = 0;

char state_of_leader() {
  const std::string stat = workload::read_file("/proc/" + std::to_string(getpid()) + "/stat");
  const size_t at = stat.rfind(')');
  return at == std::string::npos ? '?' : stat[at + 2];
}

void* count(void*) {
  for (;;) {
    rounds = rounds + 1;
    workload::sleep_ms(1);
  }
}

void* work(void*) {
  for (int i = 0; i < 5000 && state_of_leader() != 'Z'; ++i) workload::sleep_ms(1);
  MUST_BE(state_of_leader(), 'Z');
  worker_tid = gettid();
  pthread_t other;
  MUST(pthread_create(&other, nullptr, count, nullptr) == 0);
  while (rounds == 0) workload::sleep_ms(1);  // a new thread has all signals blocked at first
  MUST_BE(lseek(file, 7, SEEK_SET), 7);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(gettid(), worker_tid);
  MUST_BE(state_of_leader(), 'Z');
  MUST_BE(lseek(file, 0, SEEK_CUR), 7);
  char byte = 0;
  MUST_BE(read(widowed[0], &byte, 1), 1);
  MUST_BE(byte, 'w');
  MUST_BE(read(widowed[0], &byte, 1), 0);
  const uint64_t before = rounds;
  for (int i = 0; i < 5000 && rounds == before; ++i) workload::sleep_ms(1);
  MUST(rounds != before);
  // Threads can be made and joined as ever.
  pthread_t more;
  MUST(pthread_create(
           &more, nullptr, [](void* value) { return value; }, &file) == 0);
  void* result = nullptr;
  MUST(pthread_join(more, &result) == 0);
  MUST(result == &file);
  workload::passed();
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  file = open((workload::prefix + ".file").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  MUST(file >= 0);
  MUST(write(file, "0123456789", 10) == 10);
  MUST(pipe(widowed) == 0);
  MUST(write(widowed[1], "w", 1) == 1);
  close(widowed[1]);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, work, nullptr) == 0);
  syscall(SYS_exit, 42);
  workload::fail("the leader goes on");
}
