// Contexts of asynchronous I/O: empty; with completions that were not taken; with a ring that has gone round, once with
// the completions that wait across its end. Their ids are addresses and stay; they go on to work.
#include <linux/aio_abi.h>

#include "contract.h"

namespace {

int file, null;
char buffer[4096];

aio_context_t set_up(unsigned requests) {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, requests, &context) != 0) {
    if (errno == ENOSYS) workload::skip("this kernel has no io_setup()");
    workload::fail("io_setup: %s", strerror(errno));
  }
  return context;
}

// Requests that end at once; `first` names the first one.
void submit(aio_context_t context, unsigned count, uint64_t first) {
  for (unsigned i = 0; i < count; ++i) {
    iocb request{};
    request.aio_fildes = i % 2 ? static_cast<uint32_t>(file) : static_cast<uint32_t>(null);
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_buf = reinterpret_cast<uint64_t>(buffer);
    request.aio_nbytes = i % 2 ? 10 + i % 100 : 0;
    request.aio_data = first + i;
    iocb* list = &request;
    MUST_BE(syscall(SYS_io_submit, context, 1, &list), 1);
  }
}

void take(aio_context_t context, unsigned count, uint64_t first) {
  for (unsigned i = 0; i < count; ++i) {
    io_event event{};
    timespec now{};
    MUST_BE(syscall(SYS_io_getevents, context, 0, 1, &event, &now), 1);
    MUST_BE(event.data, first + i);
    MUST_BE(event.res, i % 2 ? 10 + i % 100 : 0);
  }
}

void expect_empty(aio_context_t context) {
  io_event event{};
  timespec now{};
  MUST_BE(syscall(SYS_io_getevents, context, 0, 1, &event, &now), 0);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string path = workload::prefix + ".data";
  file = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600), null = open("/dev/null", O_RDONLY);
  MUST(file >= 0 && null >= 0 && ftruncate(file, 4096) == 0);
  aio_context_t empty = set_up(1), gone = set_up(10), waiting = set_up(10), round = set_up(40), large = set_up(5000);
  submit(waiting, 20, 1000);
  take(waiting, 6, 1000);
  MUST(syscall(SYS_io_destroy, gone) == 0);
  // As many as half the ring holds, twice and a bit: the ring has gone round.
  const unsigned room = reinterpret_cast<uint32_t*>(round)[1];
  submit(round, room / 2, 1), take(round, room / 2, 1);
  submit(round, room / 2 - 5, 1), take(round, room / 2 - 5, 1);
  submit(round, 24, 2000);
  submit(large, 2999, 5000);

  workload::ready();
  workload::wait_for_end();
  expect_empty(empty);
  submit(empty, 2, 70), take(empty, 2, 70);
  io_event event;
  MUST(syscall(SYS_io_getevents, gone, 0, 1, &event, nullptr) < 0 && errno == EINVAL);
  submit(waiting, 1, 3000);
  for (unsigned i = 6; i < 20; ++i) {
    MUST_BE(syscall(SYS_io_getevents, waiting, 1, 1, &event, nullptr), 1);
    MUST_BE(event.data, 1000 + i);
    MUST_BE(event.res, i % 2 ? 10 + i % 100 : 0);
  }
  take(waiting, 1, 3000);
  expect_empty(waiting);
  take(round, 24, 2000);
  expect_empty(round);
  for (int turn = 0; turn < 3; ++turn) submit(round, room / 2, 1), take(round, room / 2, 1);
  take(large, 2999, 5000);
  // A request that is for real: writes, and says how much.
  iocb request{};
  request.aio_fildes = static_cast<uint32_t>(file);
  request.aio_lio_opcode = IOCB_CMD_PWRITE;
  strcpy(buffer, "written");
  request.aio_buf = reinterpret_cast<uint64_t>(buffer);
  request.aio_nbytes = 7;
  request.aio_offset = 100;
  iocb* list = &request;
  MUST_BE(syscall(SYS_io_submit, large, 1, &list), 1);
  MUST_BE(syscall(SYS_io_getevents, large, 1, 1, &event, nullptr), 1);
  MUST_BE(event.res, 7);
  char back[8] = {};
  MUST(pread(file, back, 7, 100) == 7 && strcmp(back, "written") == 0);
  for (aio_context_t context : {empty, waiting, round, large}) MUST(syscall(SYS_io_destroy, context) == 0);
  return workload::passed();
}
