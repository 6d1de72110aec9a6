// A deleted file of 1 GiB that is nearly all hole: it stays one.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr off_t kSize = 1ll << 30;
  std::string path = workload::prefix + ".deleted";
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  MUST(fd >= 0 && ftruncate(fd, kSize) == 0);
  const off_t places[] = {0, 300'000'000, 777'777'777, kSize - 5000};
  for (off_t place : places) {
    std::vector<unsigned char> part(5000);
    workload::fill(part.data(), part.size(), place);
    MUST_BE(pwrite(fd, part.data(), part.size(), place), part.size());
  }
  lseek(fd, 300'000'000, SEEK_SET);
  MUST(unlink(path.c_str()) == 0);
  workload::ready();
  workload::wait_for_end();
  struct stat status {};
  MUST(fstat(fd, &status) == 0);
  MUST_BE(status.st_size, kSize);
  MUST(status.st_blocks * 512 < 4 << 20);
  MUST_BE(lseek(fd, 0, SEEK_CUR), 300'000'000);
  for (off_t place : places) {
    std::vector<unsigned char> part(5000);
    MUST_BE(pread(fd, part.data(), part.size(), place), part.size());
    MUST_BE(workload::differs(part.data(), part.size(), place), -1);
  }
  std::vector<unsigned char> hole(100'000);
  MUST_BE(pread(fd, hole.data(), hole.size(), 500'000'000), hole.size());
  MUST_BE(workload::differs_from(hole.data(), hole.size(), 0), -1);
  return workload::passed();
}
