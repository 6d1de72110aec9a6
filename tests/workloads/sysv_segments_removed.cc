// System V segments that are gone when the program comes back: one that the program itself has removed and has still
// attached, one that the driver removes. Both come back with their old ids, made by another user.
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kSize = 300 * kPage;

int make_as(uid_t user, key_t key) {
  pid_t child = fork();
  MUST(child >= 0);
  if (child == 0) {
    if (geteuid() == 0 && (setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0)) _exit(1);
    _exit(shmget(key, kSize, IPC_CREAT | IPC_EXCL | 0666) < 0);
  }
  int status = 0;
  MUST(waitpid(child, &status, 0) == child && status == 0);
  int id = shmget(key, 0, 0);
  MUST(id >= 0);
  return id;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const key_t key = 0x4e000000 | (getpid() & 0xffff) << 4;
  int removed = make_as(4711, key), taken = make_as(4712, key + 1);
  auto* one = static_cast<unsigned char*>(shmat(removed, nullptr, 0));
  auto* two = static_cast<unsigned char*>(shmat(taken, nullptr, 0));
  MUST(one != reinterpret_cast<void*>(-1) && two != reinterpret_cast<void*>(-1));
  workload::fill(one + 100 * kPage, kPage, 1);
  workload::fill(two, kSize, 2);
  MUST(shmctl(removed, IPC_RMID, nullptr) == 0);
  shmid_ds before{};
  MUST(shmctl(removed, IPC_STAT, &before) == 0);

  workload::ready("remove_segment " + std::to_string(taken) + "\n");
  workload::wait_for_end();
  shmid_ds status{};
  MUST(shmctl(removed, IPC_STAT, &status) == 0);
  MUST_BE(status.shm_perm.__key, before.shm_perm.__key);
  MUST_BE(status.shm_perm.mode, before.shm_perm.mode);
  MUST_BE(status.shm_perm.cuid, before.shm_perm.cuid);
  MUST_BE(status.shm_nattch, 1);
  MUST(shmget(key, 0, 0) < 0 && errno == ENOENT);
  MUST_BE(workload::differs_from(one, 100 * kPage, 0), -1);
  MUST_BE(workload::differs(one + 100 * kPage, kPage, 1), -1);
  MUST_BE(workload::differs_from(one + 101 * kPage, kSize - 101 * kPage, 0), -1);
  MUST(shmctl(taken, IPC_STAT, &status) == 0);
  MUST_BE(status.shm_perm.__key, key + 1);
  MUST_BE(status.shm_perm.cuid, geteuid() == 0 ? 4712 : geteuid());
  MUST_BE(workload::differs(two, kSize, 2), -1);
  MUST(shmdt(one) == 0);
  MUST(shmctl(removed, IPC_STAT, &status) < 0);  // the last one is gone
  MUST(shmctl(taken, IPC_RMID, nullptr) == 0);
  return workload::passed();
}
