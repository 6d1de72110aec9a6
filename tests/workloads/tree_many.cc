// Forty generations in a row, and sixty children side by side, some with threads.
#include <pthread.h>

#include "family.h"

using namespace workload;

namespace {

void descend(Nursery& nursery, int generations) {
  pid_t child = generations > 1 ? fork_child([&] { descend(nursery, generations - 1); }) : 0;
  Kin born;
  nursery.grown();
  wait_for_end();
  int status = 5 << 8;
  if (child != 0) {
    kill(child, SIGTERM);
    if (waitpid(child, &status, 0) != child) _exit(97);
  }
  _exit(status == 5 << 8 && born == Kin() ? 5 : 98);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  pid_t chain = fork_child([&] { descend(nursery, 40); });
  std::vector<pid_t> wide;
  for (int i = 0; i < 60; ++i)
    wide.push_back(fork_child([&, i] {
      pthread_t thread;
      static volatile int counter = 0;
      if (i % 10 == 0) {
        pthread_create(
            &thread, nullptr,
            [](void*) -> void* {
              for (;;) {
                counter = counter + 1;
                usleep(1000);
              }
            },
            nullptr);
      }
      live(nursery, 5);
    }));
  nursery.expect(100);
  ready();
  wait_for_end();
  expect_end(chain, 5);
  for (pid_t pid : wide) expect_end(pid, 5);
  expect_childless();
  return passed();
}
