// The same, removed after the dump: a restore makes them anew, with their old id.
#include "sysv.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  return workload::run_semaphores("remove_semaphores ");
}
