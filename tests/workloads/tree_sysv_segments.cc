// System V segments that several processes have attached, in different ways: whole, in pieces, for reading only; one
// that is removed, one of which only the children have attachments.
#include <sys/mman.h>
#include <sys/shm.h>

#include "family.h"

using namespace workload;

namespace {

constexpr size_t kPage = 4096, kSize = 10 * kPage;

unsigned char* attach(int id, int flags = 0) {
  auto* at = static_cast<unsigned char*>(shmat(id, nullptr, flags));
  MUST(at != reinterpret_cast<void*>(-1));
  return at;
}

shmid_ds stat_of(int id) {
  shmid_ds status{};
  MUST(shmctl(id, IPC_STAT, &status) == 0);
  return status;
}

#define CHECK(condition) \
  if (!(condition)) _exit(__LINE__ % 80 + 10)

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  int common = shmget(IPC_PRIVATE, kSize, 0600), removed = shmget(IPC_PRIVATE, kSize, 0600),
      theirs = shmget(IPC_PRIVATE, kSize, 0600);
  MUST(common >= 0 && removed >= 0 && theirs >= 0);
  unsigned char *ours = attach(common), *nameless = attach(removed);
  fill(ours, kSize, 31);
  fill(nameless, kSize, 32);
  pid_t children[2];
  for (int i = 0; i < 2; ++i)
    children[i] = fork_child([&] {
      unsigned char* own = attach(theirs);
      if (i == 0) {
        fill(own, kSize, 33);
        CHECK(munmap(ours + 2 * kPage, kPage) == 0);
        nursery.grown();
        wait_for_end();
        CHECK(differs(own, kSize, 33) == -1 && ours[9 * kPage] == 61);
        own[7] = 62;
        _exit(4);
      }
      unsigned char* reader = attach(common, SHM_RDONLY);
      CHECK(shmdt(ours) == 0);
      nursery.grown();
      wait_for_end();
      CHECK(own[7] == 62 && reader[9 * kPage] == 61 && reader[5] == nameless[5] + 1);
      CHECK(mprotect(reader, kPage, PROT_READ | PROT_WRITE) != 0);
      nameless[6] = 63;
      _exit(5);
    });
  nursery.expect(2);
  MUST(shmctl(removed, IPC_RMID, nullptr) == 0);
  std::string hints;
  for (int id : {common, removed, theirs}) hints += "segment " + std::to_string(id) + "\n";
  ready(hints);
  wait_for_end();
  MUST_BE(stat_of(common).shm_nattch, 4);  // one of them in two pieces
  MUST_BE(stat_of(theirs).shm_nattch, 2);
  MUST_BE(stat_of(removed).shm_nattch, 3);
  MUST_BE(differs(ours, kSize, 31), -1);
  MUST_BE(differs(nameless, kSize, 32), -1);
  ours[9 * kPage] = 61;
  ours[5] = static_cast<unsigned char>(nameless[5] + 1);
  nameless[5] = static_cast<unsigned char>(ours[5] - 1);
  expect_end(children[0], 4);
  expect_end(children[1], 5);
  MUST_BE(nameless[6], 63);
  for (int id : {common, theirs}) MUST(shmctl(id, IPC_RMID, nullptr) == 0);
  expect_childless();
  return passed();
}
