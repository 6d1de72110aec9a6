// One memory for several processes (CLONE_VM without CLONE_THREAD): a child, its child, and a second memory that a
// forked child shares with a sibling; two of them have threads. What one stores or maps the others see, and nobody
// else.
#include "sharing.h"

using namespace workload;

namespace {

constexpr int kRoot = -1, kChild = 0, kGrandchild = 1, kElder = 2, kYounger = 3, kAll = 4, kThread = 5,
              kElderThread = 6;

void expect_sharing(int place) {
  for (const int one : {kRoot, kChild, kGrandchild, kAll}) {
    MUST_ANSWER(one, kStore, 1000 * place + one, 0);
    for (const int other : {kRoot, kChild, kGrandchild, kAll}) MUST_ANSWER(other, kLoad, 0, 1000 * place + one);
  }
  MUST_ANSWER(kYounger, kStore, 77 + place, 0);
  MUST_ANSWER(kElder, kLoad, 0, 77 + place);
  MUST_ANSWER(kElderThread, kLoad, 0, 77 + place);
  MUST_ANSWER(kThread, kLoad, 0, 1000 * place + kAll);
  MUST_ANSWER(kRoot, kLoad, 0, 1000 * place + kAll);
  MUST_ANSWER(kGrandchild, kMap, place, 0);
  MUST_BE(*page_at(place), place);
  *page_at(place) = 5;
  MUST_ANSWER(kElder, kMap, place, 0);  // free there
  MUST_BE(*page_at(place), 5);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  write_file(prefix + ".file", "content");
  constexpr int kThreadFlags = CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  prepare_workers({CLONE_VM, CLONE_VM, 0, CLONE_VM | CLONE_PARENT, CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND,
                   kThreadFlags, kThreadFlags});
  start_worker(kRoot, kElder);
  start_worker(kElder, kYounger);
  start_worker(kRoot, kChild);
  start_worker(kChild, kGrandchild);
  start_worker(kRoot, kAll);
  start_worker(kChild, kThread);
  start_worker(kElder, kElderThread);
  constexpr size_t kBytes = 4 << 20;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(memory != MAP_FAILED);
  fill(memory, kBytes, 3);
  expect_sharing(1);
  MUST_ANSWER(kChild, kOpen, 90, 90);
  ready();
  wait_for_end();
  MUST_BE(differs(memory, kBytes, 3), -1);
  MUST_BE(*page_at(1), 5);
  expect_sharing(2);
  MUST_ANSWER(kChild, kIsOpen, 90, 1);
  MUST_ANSWER(kRoot, kIsOpen, 90, 0);
  MUST_ANSWER(kAll, kOpen, 91, 91);
  MUST_ANSWER(kRoot, kIsOpen, 91, 1);
  MUST_ANSWER(kGrandchild, kIsOpen, 91, 0);
  end_worker(kThread, false);
  end_worker(kElderThread, false);
  end_worker(kYounger, true);
  end_worker(kElder, true);
  end_worker(kAll, true);
  end_worker(kGrandchild, false);
  end_worker(kChild, true);
  MUST_BE(differs(memory, kBytes, 3), -1);
  unlink((prefix + ".file").c_str());
  return passed();
}
