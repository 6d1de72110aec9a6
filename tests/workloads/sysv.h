// For workloads with System V semaphores and queues.
#pragma once

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

#include "family.h"

namespace workload {

union SemaphoreArgument {
  int value;
  semid_ds* status;
  unsigned short* array;
};

inline semid_ds semaphores_of(int id) {
  semid_ds status{};
  SemaphoreArgument argument{};
  argument.status = &status;
  if (semctl(id, 0, IPC_STAT, argument) != 0) fail("semctl(IPC_STAT): %s", strerror(errno));
  return status;
}

inline int operate(int id, unsigned short index, short change, short flags = 0) {
  sembuf operation{index, change, flags};
  return semop(id, &operation, 1);
}

struct Letter {
  long type;
  char text[64];
};

inline void post(int queue, long type, const std::string& text) {
  Letter letter{type, {}};
  memcpy(letter.text, text.data(), text.size());
  if (msgsnd(queue, &letter, text.size(), 0) != 0) fail("msgsnd: %s", strerror(errno));
}

inline std::string collect(int queue, long type, long* got = nullptr) {
  Letter letter{};
  ssize_t n = msgrcv(queue, &letter, sizeof letter.text, type, 0);
  if (n < 0) fail("msgrcv: %s", strerror(errno));
  if (got) *got = letter.type;
  return std::string(letter.text, static_cast<size_t>(n));
}

// Values, the last user of each, owner and mode; a child that waits for one.
inline int run_semaphores(const std::string& hint) {
  Nursery nursery;
  const key_t key = 0x4e000000 | (getpid() & 0xffff);
  int id = semget(key, 5, IPC_CREAT | IPC_EXCL | 0640);
  MUST(id >= 0);
  semid_ds status = semaphores_of(id);
  status.sem_perm.uid = 4711, status.sem_perm.gid = 4712;
  SemaphoreArgument argument{};
  argument.status = &status;
  MUST(semctl(id, 0, IPC_SET, argument) == 0);
  MUST(operate(id, 0, 7) == 0 && operate(id, 1, 3) == 0);
  MUST(operate(id, 1, -2, SEM_UNDO) == 0);  // given back when it is killed: held all the same afterwards
  pid_t child = fork_child([&] {
    if (operate(id, 2, 9) != 0) _exit(10);
    nursery.grown();
    while (operate(id, 3, -1) != 0)  // waits; any stop may end it so (signal(7))
      if (errno != EINTR) _exit(11);
    _exit(semctl(id, 2, GETVAL) == 9 ? 4 : 12);
  });
  nursery.expect(1);
  while (semctl(id, 3, GETNCNT) != 1) sleep_ms(1);
  ready(hint + std::to_string(id) + "\n");
  wait_for_end();
  MUST_BE(semget(key, 0, 0), id);
  status = semaphores_of(id);
  MUST_BE(status.sem_nsems, 5);
  MUST_BE(status.sem_perm.mode, 0640);
  MUST_BE(status.sem_perm.uid, 4711);
  MUST_BE(status.sem_perm.gid, 4712);
  const int values[] = {7, 1, 9, 0, 0}, users[] = {getpid(), getpid(), child, 0, 0};
  for (int i = 0; i < 5; ++i) {
    MUST_BE(semctl(id, i, GETVAL), values[i]);
    if (i < 3) MUST_BE(semctl(id, i, GETPID), users[i]);
  }
  for (int i = 0; semctl(id, 3, GETNCNT) != 1 && i < 2000; ++i) sleep_ms(1);
  MUST_BE(semctl(id, 3, GETNCNT), 1);
  MUST(operate(id, 3, 1) == 0);
  expect_status(child, 4 << 8);
  MUST(semctl(id, 0, IPC_RMID) == 0);
  expect_childless();
  return passed();
}

// Messages of several types in their order; a child that waits for one of a type that is not there.
inline int run_queue(const std::string& hint) {
  Nursery nursery;
  const key_t key = 0x4f000000 | (getpid() & 0xffff);
  int id = msgget(key, IPC_CREAT | IPC_EXCL | 0620);
  MUST(id >= 0);
  msqid_ds status{};
  MUST(msgctl(id, IPC_STAT, &status) == 0);
  status.msg_qbytes = 9000;
  MUST(msgctl(id, IPC_SET, &status) == 0);
  post(id, 5, "to be taken");
  pid_t child = fork_child([&] {
    if (collect(id, 5) != "to be taken") _exit(10);
    nursery.grown();
    _exit(collect(id, 77) == "at last" ? 6 : 11);
  });
  nursery.expect(1);
  post(id, 3, "first");
  post(id, 9, "");
  post(id, 3, "third");
  sleep_ms(20);
  ready(hint + std::to_string(id) + "\n");
  wait_for_end();
  MUST_BE(msgget(key, 0), id);
  MUST(msgctl(id, IPC_STAT, &status) == 0);
  MUST_BE(status.msg_perm.mode, 0620);
  MUST_BE(status.msg_qbytes, 9000);
  MUST_BE(status.msg_qnum, 3);
  MUST_BE(status.__msg_cbytes, 10);
  MUST_BE(status.msg_lspid, getpid());
  MUST_BE(status.msg_lrpid, child);
  post(id, 77, "at last");
  expect_status(child, 6 << 8);
  long type = 0;
  MUST(collect(id, 9, &type).empty() && type == 9);
  MUST(collect(id, 0, &type) == "first" && type == 3);
  MUST(collect(id, -4) == "third");
  MUST(msgctl(id, IPC_RMID, nullptr) == 0);
  expect_childless();
  return passed();
}

}  // namespace workload
