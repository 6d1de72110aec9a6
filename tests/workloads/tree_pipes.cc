// A pipeline of processes, each end of each pipe in one process only, with bytes under way; and a descriptor that
// parent and child share with its position.
#include "family.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  constexpr int kStages = 5;
  int fds[kStages + 1][2];
  for (auto& pair : fds)
    if (pipe(pair) != 0) fail("pipe: %s", strerror(errno));
  std::string path = prefix + ".shared";
  int shared = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (write(shared, "0123456789", 10) != 10 || lseek(shared, 3, SEEK_SET) != 3) fail("shared file");
  pid_t stages[kStages];
  for (int i = 0; i < kStages; ++i)
    stages[i] = fork_child([&] {
      for (int k = 0; k <= kStages; ++k) {
        if (k != i) close(fds[k][0]);
        if (k != i + 1) close(fds[k][1]);
      }
      nursery.grown();
      char byte;
      while (read(fds[i][0], &byte, 1) == 1) {
        if (byte == 'P') {  // a position that all see
          char digit;
          if (read(shared, &digit, 1) != 1) _exit(21);
        }
        if (write(fds[i + 1][1], &byte, 1) != 1) _exit(22);
      }
      _exit(5);
    });
  for (int k = 0; k <= kStages; ++k) {
    if (k != kStages) close(fds[k][0]);
    if (k != 0) close(fds[k][1]);
  }
  nursery.expect(kStages);
  if (write(fds[0][1], "abc", 3) != 3) fail("write");
  sleep_ms(30);
  ready();
  wait_for_end();
  if (write(fds[0][1], "dPe", 3) != 3) fail("write after");
  close(fds[0][1]);
  std::string got;
  char buffer[64];
  for (ssize_t n; (n = read(fds[kStages][0], buffer, sizeof buffer)) > 0;) got.append(buffer, n);
  if (got != "abcdPe") fail("the pipeline gave '%s'", got.c_str());
  if (lseek(shared, 0, SEEK_CUR) != 3 + kStages) fail("the position is %ld", long(lseek(shared, 0, SEEK_CUR)));
  for (pid_t pid : stages) expect_status(pid, 5 << 8);
  expect_childless();
  unlink(path.c_str());
  return passed();
}
