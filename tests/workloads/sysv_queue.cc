// A System V message queue. A restore finds it still there.
#include "sysv.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  return workload::run_queue("queue ");
}
