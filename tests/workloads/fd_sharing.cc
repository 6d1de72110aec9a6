// Duplicated descriptors share one position; two opens of the same file do not.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string path = workload::prefix + ".file";
  workload::write_file(path, std::string(1000, 'a'));
  int first = open(path.c_str(), O_RDWR), same = dup(first), also = fcntl(first, F_DUPFD_CLOEXEC, 50);
  int second = open(path.c_str(), O_RDWR), third = open(path.c_str(), O_RDWR);
  MUST(first >= 0 && same >= 0 && also >= 50 && second >= 0 && third >= 0);
  lseek(first, 10, SEEK_SET);
  lseek(second, 20, SEEK_SET);
  lseek(third, 20, SEEK_SET);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(fcntl(same, F_GETFD), 0);
  MUST_BE(fcntl(also, F_GETFD), FD_CLOEXEC);
  lseek(same, 33, SEEK_SET);
  MUST_BE(lseek(first, 0, SEEK_CUR), 33);
  MUST_BE(lseek(also, 0, SEEK_CUR), 33);
  MUST_BE(lseek(second, 0, SEEK_CUR), 20);
  lseek(second, 44, SEEK_SET);
  MUST_BE(lseek(third, 0, SEEK_CUR), 20);
  MUST(fcntl(also, F_SETFL, O_APPEND) == 0);  // status flags are shared the same way
  MUST(fcntl(first, F_GETFL) & O_APPEND);
  MUST(!(fcntl(second, F_GETFL) & O_APPEND));
  unlink(path.c_str());
  return workload::passed();
}
