// System V segments: one with a key attached twice and once for reading only, in pieces; a private one; one of another
// owner and mode that is locked. A restore finds them still there, as they outlive the program.
#include <sys/mman.h>
#include <sys/shm.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kSize = 10 * kPage + 123;

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

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const key_t key = 0x4d000000 | (getpid() & 0xffff);
  int id = shmget(key, kSize, IPC_CREAT | IPC_EXCL | 0640), nameless = shmget(IPC_PRIVATE, kPage, 0600),
      given = shmget(IPC_PRIVATE, 2 * kPage, 0666);
  MUST(id >= 0 && nameless >= 0 && given >= 0);
  std::string hints;
  for (int one : {id, nameless, given}) hints += "segment " + std::to_string(one) + "\n";
  auto *first = attach(id), *second = attach(id), *reader = attach(id, SHM_RDONLY);
  workload::fill(first, kSize, 1);
  auto* own = attach(nameless);
  workload::fill(own, kPage, 2);
  auto* other = attach(given);
  workload::fill(other + kPage, kPage, 3);
  shmid_ds status = stat_of(given);
  status.shm_perm.uid = 4711, status.shm_perm.gid = 4712, status.shm_perm.mode = 0664;
  MUST(shmctl(given, IPC_SET, &status) == 0);
  const bool locked = shmctl(given, SHM_LOCK, nullptr) == 0;
  MUST(mprotect(second + 2 * kPage, 3 * kPage, PROT_READ) == 0);
  MUST(munmap(second + 7 * kPage, kPage) == 0);

  workload::ready(hints);
  workload::wait_for_end();
  status = stat_of(id);
  MUST_BE(status.shm_perm.__key, key);
  MUST_BE(status.shm_segsz, kSize);
  MUST_BE(status.shm_perm.mode, 0640);
  MUST_BE(status.shm_nattch, 6);
  MUST_BE(shmget(key, 0, 0), id);
  MUST_BE(workload::differs(first, kSize, 1), -1);
  MUST_BE(workload::differs(reader, kSize, 1), -1);
  MUST(memcmp(first, second, 7 * kPage) == 0);
  first[3 * kPage] ^= 1;
  MUST_BE(second[3 * kPage], first[3 * kPage]);
  MUST_BE(reader[3 * kPage], first[3 * kPage]);
  MUST(mprotect(reader, kPage, PROT_READ | PROT_WRITE) != 0);
  auto* third = attach(id);  // by number: the segment is the same for all
  MUST_BE(third[3 * kPage], first[3 * kPage]);
  MUST(shmdt(third) == 0 && shmdt(second) == 0);
  MUST_BE(stat_of(id).shm_nattch, 2);
  MUST_BE(workload::differs(own, kPage, 2), -1);
  MUST_BE(stat_of(nameless).shm_perm.__key, IPC_PRIVATE);
  MUST_BE(workload::differs_from(other, kPage, 0), -1);
  MUST_BE(workload::differs(other + kPage, kPage, 3), -1);
  status = stat_of(given);
  MUST_BE(status.shm_perm.uid, 4711);
  MUST_BE(status.shm_perm.gid, 4712);
  MUST_BE(status.shm_perm.mode & 0777, 0664);
  MUST_BE((status.shm_perm.mode & 02000) != 0, locked);
  for (int one : {id, nameless, given}) MUST(shmctl(one, IPC_RMID, nullptr) == 0);
  return workload::passed();
}
