// One file, open 300 times: at positions of its own and at equal ones, some of them duplicated, some shared with a
// child. Only kcmp(2) tells which descriptors are one open file; the order that it gives changes, what is equal does
// not.
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <vector>

#include "contract.h"

namespace {

constexpr int kOpens = 300, kDuplicates = 100;

// The first descriptor that leads to the same open file, of each.
std::vector<int> classes_of(const std::vector<int>& fds) {
  std::vector<int> first(fds.size());
  for (size_t i = 0; i < fds.size(); ++i)
    for (size_t j = 0; j <= i; ++j)
      if (syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, fds[j], fds[i]) == 0) {
        first[i] = static_cast<int>(j);
        break;
      }
  return first;
}

off_t position_of(int i) {
  return i % 2 == 0 ? i : 7;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const std::string path = workload::prefix + ".often";
  std::vector<int> fds;
  for (int i = 0; i < kOpens; ++i) {
    fds.push_back(open(path.c_str(), O_RDWR | O_CREAT, 0600));
    MUST(fds.back() >= 0);
    MUST_BE(lseek(fds.back(), position_of(i), SEEK_SET), position_of(i));
  }
  for (int i = 0; i < kDuplicates; ++i) {
    fds.push_back(dup(fds[static_cast<size_t>(i)]));
    MUST(fds.back() >= 0);
  }
  const std::vector<int> before = classes_of(fds);
  int question[2];
  MUST_BE(pipe(question), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(question[1]);
    char byte = 0;
    if (read(question[0], &byte, 1) != 1) _exit(1);
    for (int i = 0; i < kOpens; ++i)
      if (lseek(fds[static_cast<size_t>(i)], 1000, SEEK_CUR) != position_of(i) + 1000) _exit(2);
    _exit(0);
  }
  workload::ready();
  workload::wait_for_end();
  MUST(classes_of(fds) == before);
  MUST_BE(write(question[1], "x", 1), 1);
  int status = -1;
  MUST_BE(waitpid(child, &status, 0), child);
  MUST_BE(status, 0);
  for (size_t i = 0; i < fds.size(); ++i)  // all of them are the child's too
    MUST_BE(lseek(fds[i], 0, SEEK_CUR), position_of(before[i]) + 1000);
  unlink(path.c_str());
  return workload::passed();
}
