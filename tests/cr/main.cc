// cr-driver ENGINE MODE PROGRAM: runs one workload in one mode. Exit code 0 passed, 1 failed, 77 skipped.
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "tests/cr/scenario.h"

namespace {

constexpr unsigned kLimitSeconds = 110;

void out_of_time(int) {
  const char text[] = "FAILED: the whole run took more than 110 s\n";
  if (write(1, text, sizeof text - 1) < 0) _exit(1);
  cr::end_all_children();
  _exit(1);
}

uint64_t seed() {
  const char* given = getenv("MCR_TEST_SEED");
  return given && *given ? strtoull(given, nullptr, 10) : std::random_device{}();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s ENGINE MODE PROGRAM\n", argv[0]);
    return 2;
  }
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  // A restore gives System V objects their old ids, which no other test may have meanwhile.
  if (strstr(argv[3], "/sysv_") || strstr(argv[3], "tree_sysv_")) static_cast<void>(unshare(CLONE_NEWIPC));
  signal(SIGALRM, out_of_time);
  signal(SIGTERM, out_of_time);
  alarm(kLimitSeconds);
  uint64_t chosen = seed();
  try {
    cr::Scenario scenario(argv[3], argv[1], chosen);
    try {
      scenario.run(argv[2]);
      printf("PASSED\n");
      return 0;
    } catch (const cr::Skipped& reason) {
      printf("SKIPPED: %s", reason.what());
      return 77;
    } catch (const std::exception& failure) {
      printf("FAILED: %s\n", failure.what());
      printf("  to repeat: MCR_TEST_SEED=%llu %s %s %s %s\n", static_cast<unsigned long long>(chosen), argv[0], argv[1],
             argv[2], argv[3]);
      printf("%s", scenario.diagnosis().c_str());
      return 1;
    }
  } catch (const std::exception& failure) {
    printf("FAILED: %s\n", failure.what());
    return 1;
  }
}
