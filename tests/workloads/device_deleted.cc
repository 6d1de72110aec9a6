// Devices of memory whose names are gone.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "contract.h"

namespace {

void verify(int zero, int null) {
  char bytes[16];
  memset(bytes, 'x', sizeof bytes);
  MUST(read(zero, bytes, sizeof bytes) == sizeof bytes);
  for (char byte : bytes) MUST_BE(byte, 0);
  MUST(read(null, bytes, sizeof bytes) == 0);
  MUST(write(null, "gone", 4) == 4);
  struct stat status {};
  MUST(fstat(zero, &status) == 0);
  MUST_BE(status.st_nlink, 0);
  MUST_BE(status.st_rdev, makedev(1, 5));
  MUST_BE(status.st_mode, S_IFCHR | 0640);
  MUST(fcntl(zero, F_GETFL) == (O_RDONLY | O_NONBLOCK | 0100000));
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  umask(0);
  const std::string zero_name = workload::prefix + ".zero", null_name = workload::prefix + ".null";
  if (mknod(zero_name.c_str(), S_IFCHR | 0640, makedev(1, 5)) != 0) workload::skip("no device can be made here\n");
  MUST(mknod(null_name.c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0);
  const int zero = open(zero_name.c_str(), O_RDONLY | O_NONBLOCK), null = open(null_name.c_str(), O_RDWR);
  MUST(zero >= 0 && null >= 0);
  MUST(unlink(zero_name.c_str()) == 0 && unlink(null_name.c_str()) == 0);
  verify(zero, null);
  workload::ready();
  workload::wait_for_end();
  verify(zero, null);
  return workload::passed();
}
