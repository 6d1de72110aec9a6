// A deep stack with content; it still grows afterwards.
#include "contract.h"

namespace {

__attribute__((noinline)) void descend(int depth, int deepest) {
  unsigned char frame[4000];
  workload::fill(frame, sizeof frame, depth);
  if (depth < deepest) {
    descend(depth + 1, deepest);
  } else if (deepest == 400) {
    workload::ready();
    workload::wait_for_end();
    descend(1000, 1700);  // about 2.8 MB further down, where nothing was mapped yet
  }
  MUST_BE(workload::differs(frame, sizeof frame, depth), -1);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  descend(0, 400);
  return workload::passed();
}
