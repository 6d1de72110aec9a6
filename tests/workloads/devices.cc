// /dev/null, /dev/zero, /dev/full, /dev/random and /dev/urandom, and a mapping of /dev/zero.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY), full = open("/dev/full", O_WRONLY),
      urandom = open("/dev/urandom", O_RDONLY | O_CLOEXEC), random = open("/dev/random", O_RDONLY | O_NONBLOCK);
  MUST(null >= 0 && zero >= 0 && full >= 0 && urandom >= 0 && random >= 0);
  auto* mapped = static_cast<unsigned char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0));
  MUST(mapped != MAP_FAILED);
  memcpy(mapped, "written", 7);
  workload::ready();
  workload::wait_for_end();
  char buffer[16] = "xxxxxxxxxxxxxxx", again[16];
  MUST_BE(write(null, buffer, 16), 16);
  MUST_BE(read(null, buffer, 16), 0);
  MUST_BE(read(zero, buffer, 16), 16);
  MUST_BE(workload::differs_from(buffer, 16, 0), -1);
  MUST_BE(write(full, buffer, 1), -1);
  MUST_BE(errno, ENOSPC);
  MUST_BE(read(urandom, buffer, 16), 16);
  MUST_BE(read(urandom, again, 16), 16);
  MUST(memcmp(buffer, again, 16) != 0);
  MUST(read(random, buffer, 16) > 0);
  MUST(memcmp(mapped, "written", 7) == 0 && mapped[5000] == 0);
  return workload::passed();
}
