// The same, removed after the dump: a restore makes it anew, with its old id and its messages.
#include "sysv.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  return workload::run_queue("remove_queue ");
}
