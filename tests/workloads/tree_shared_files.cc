// One table of descriptors for several processes: a child; a grandchild whose parent has left the table meanwhile; two
// siblings that share one of their own. What one opens or closes the others see, and nobody else.
#include <sys/file.h>

#include "sharing.h"

using namespace workload;

namespace {

constexpr int kRoot = -1, kChild = 0, kMiddle = 1, kGrandchild = 2, kElder = 3, kYounger = 4;

void expect_sharing(int number) {
  for (const int opener : {kRoot, kChild, kGrandchild}) {
    MUST_ANSWER(opener, kOpen, number, number);
    for (const int other : {kRoot, kChild, kGrandchild}) MUST_ANSWER(other, kIsOpen, number, 1);
    for (const int stranger : {kMiddle, kElder, kYounger}) MUST_ANSWER(stranger, kIsOpen, number, 0);
    MUST_ANSWER(opener == kRoot ? kGrandchild : kRoot, kClose, number, 0);
    for (const int other : {kRoot, kChild, kGrandchild}) MUST_ANSWER(other, kIsOpen, number, 0);
  }
  MUST_ANSWER(kElder, kOpen, number, number);
  MUST_ANSWER(kYounger, kIsOpen, number, 1);
  for (const int stranger : {kRoot, kChild, kMiddle, kGrandchild}) MUST_ANSWER(stranger, kIsOpen, number, 0);
  MUST_ANSWER(kYounger, kClose, number, 0);
  MUST_ANSWER(kElder, kIsOpen, number, 0);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  write_file(prefix + ".file", "content");
  prepare_workers({CLONE_FILES, CLONE_FILES, CLONE_FILES, 0, CLONE_FILES | CLONE_PARENT});
  start_worker(kRoot, kElder);
  start_worker(kElder, kYounger);
  start_worker(kRoot, kChild);
  start_worker(kRoot, kMiddle);
  start_worker(kMiddle, kGrandchild);
  MUST_ANSWER(kMiddle, kUnshare, CLONE_FILES, 0);
  expect_sharing(200);
  // A lock of a process is one of its table (fcntl(2)).
  MUST_ANSWER(kGrandchild, kOpen, 150, 150);
  struct flock lock {};
  lock.l_type = F_WRLCK, lock.l_len = 3;
  MUST(fcntl(150, F_SETLK, &lock) == 0);
  MUST(lseek(150, 4, SEEK_SET) == 4);
  ready("dump --file-locks\n");
  wait_for_end();
  expect_sharing(200);
  MUST_ANSWER(kChild, kIsOpen, 150, 1);
  char rest[4] = {};
  MUST_BE(read(150, rest, sizeof rest), 3);
  MUST(memcmp(rest, "ent", 3) == 0);
  expect_sharing(37);
  end_worker(kYounger, true);
  MUST_ANSWER(kElder, kIsOpen, 0, 1);
  end_worker(kElder, true);
  end_worker(kGrandchild, false);
  end_worker(kMiddle, true);
  end_worker(kChild, true);
  MUST_ANSWER(kRoot, kIsOpen, 150, 1);
  unlink((prefix + ".file").c_str());
  return passed();
}
