// System V semaphores. A restore finds them still there, with values that the kernel gave back when the program was
// killed.
#include "sysv.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  return workload::run_semaphores("semaphores ");
}
