// Descriptor numbers with gaps, up to 500, standard ones closed.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string path = workload::prefix + ".file";
  workload::write_file(path, std::string(1000, 'a'));
  std::vector<int> numbers{0, 4, 7, 63, 64, 65, 127, 255, 256, 300, 499, 500};
  int fd = open(path.c_str(), O_RDONLY);
  MUST(fd >= 0);
  for (int i = 3; i < 1024; ++i)
    if (i != fd) close(i);
  close(1);
  for (int number : numbers) {
    if (number == fd) continue;
    int fresh = open(path.c_str(), O_RDONLY);
    if (fresh != number) {
      MUST_BE(dup2(fresh, number), number);
      close(fresh);
    }
    MUST_BE(lseek(number, number, SEEK_SET), number);
  }
  if (fd != 4 && fd != 7) close(fd);
  workload::ready();
  workload::wait_for_end();
  size_t open_now = 0;
  for (int number = 0; number < 1024; ++number) open_now += fcntl(number, F_GETFD) >= 0;
  MUST_BE(open_now, numbers.size() + 1);  // and standard error
  for (int number : numbers) {
    if (number == fd) continue;
    MUST_BE(lseek(number, 0, SEEK_CUR), number);
  }
  unlink(path.c_str());
  return workload::passed();
}
