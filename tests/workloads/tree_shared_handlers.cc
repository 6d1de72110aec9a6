// Signal handlers that processes share (CLONE_SIGHAND, which takes CLONE_VM): what one sets with sigaction the others
// have; one that shares the memory only has its own.
#include "sharing.h"

using namespace workload;

namespace {

constexpr int kRoot = -1, kChild = 0, kGrandchild = 1, kOwn = 2, kElder = 3, kYounger = 4;

void expect_sharing() {
  MUST_ANSWER(kOwn, kHandle, 1, 0);
  for (const int one : {kRoot, kChild, kGrandchild})
    for (const int which : {1, 2}) {
      MUST_ANSWER(one, kHandle, which, 0);
      for (const int other : {kRoot, kChild, kGrandchild}) MUST_ANSWER(other, kHandler, 0, which);
      MUST_ANSWER(kOwn, kHandler, 0, 1);
    }
  for (const int which : {1, 2}) {
    MUST_ANSWER(kElder, kHandle, which, 0);
    MUST_ANSWER(kYounger, kHandler, 0, which);
    MUST_ANSWER(kRoot, kHandler, 0, 2);
  }
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  constexpr int kBoth = CLONE_VM | CLONE_SIGHAND;
  prepare_workers({kBoth, kBoth, CLONE_VM, 0, kBoth | CLONE_PARENT});
  start_worker(kRoot, kElder);
  start_worker(kElder, kYounger);
  start_worker(kRoot, kChild);
  start_worker(kChild, kGrandchild);
  start_worker(kChild, kOwn);
  expect_sharing();
  ready();
  wait_for_end();
  for (const int one : {kRoot, kChild, kGrandchild, kYounger}) MUST_ANSWER(one, kHandler, 0, 2);
  MUST_ANSWER(kOwn, kHandler, 0, 1);
  expect_sharing();
  end_worker(kYounger, true);
  end_worker(kElder, true);
  end_worker(kOwn, false);
  end_worker(kGrandchild, false);
  sleep_ms(20);
  end_worker(kChild, true);
  return passed();
}
