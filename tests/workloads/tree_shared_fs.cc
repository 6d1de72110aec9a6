// One working directory and umask for several processes: a child; a grandchild whose parent has left them meanwhile;
// two siblings that share their own. Where one goes the others are, and nobody else.
#include "sharing.h"

using namespace workload;

namespace {

constexpr int kRoot = -1, kChild = 0, kMiddle = 1, kGrandchild = 2, kElder = 3, kYounger = 4;

void expect_sharing() {
  for (const int mover : {kRoot, kChild, kGrandchild}) {
    const int number = mover == kRoot ? 1 : 2 + mover % 2;
    MUST_ANSWER(mover, kEnter, number, 0);
    MUST_ANSWER(mover, kSetMask, 020 + number, 0);
    for (const int other : {kRoot, kChild, kGrandchild}) {
      MUST_ANSWER(other, kIsIn, number, 1);
      MUST_ANSWER(other, kMask, 0, 020 + number);
    }
    MUST_ANSWER(kMiddle, kIsIn, 4, 1);
    for (const int stranger : {kElder, kYounger}) MUST_ANSWER(stranger, kIsIn, 5, 1);
  }
  MUST_ANSWER(kYounger, kEnter, 6, 0);
  MUST_ANSWER(kElder, kIsIn, 6, 1);
  MUST_ANSWER(kElder, kEnter, 5, 0);
  MUST_ANSWER(kYounger, kIsIn, 5, 1);
  MUST_ANSWER(kRoot, kEnter, 0, 0);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  for (int i = 0; i < 7; ++i) MUST(mkdir(folder_of(i).c_str(), 0700) == 0 || errno == EEXIST);
  prepare_workers({CLONE_FS, CLONE_FS, CLONE_FS, 0, CLONE_FS | CLONE_PARENT});
  start_worker(kRoot, kElder);
  start_worker(kElder, kYounger);
  start_worker(kRoot, kChild);
  start_worker(kRoot, kMiddle);
  start_worker(kMiddle, kGrandchild);
  MUST_ANSWER(kMiddle, kUnshare, CLONE_FS, 0);
  MUST_ANSWER(kMiddle, kEnter, 4, 0);
  MUST_ANSWER(kMiddle, kSetMask, 077, 0);
  MUST_ANSWER(kElder, kEnter, 5, 0);
  expect_sharing();
  ready();
  wait_for_end();
  for (const int one : {kRoot, kChild, kGrandchild}) MUST_ANSWER(one, kIsIn, 0, 1);
  MUST_ANSWER(kMiddle, kMask, 0, 077);
  expect_sharing();
  end_worker(kYounger, true);
  end_worker(kElder, true);
  end_worker(kGrandchild, false);
  end_worker(kMiddle, true);
  end_worker(kChild, true);
  MUST(chdir("/") == 0);
  for (int i = 0; i < 7; ++i) rmdir(folder_of(i).c_str());
  return passed();
}
