// A log that is written all the time: lines with consecutive numbers, none missing, none twice.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string path = workload::prefix + ".log";
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  MUST(fd >= 0);
  workload::ready("loose fds\nrewind " + path + "\n");
  int count = 0;
  do {
    char line[16];
    MUST_BE(snprintf(line, sizeof line, "%09d\n", count++), 10);
    MUST_BE(write(fd, line, 10), 10);
    if (count % 16 == 0) workload::sleep_ms(1);
  } while (!workload::end_requested());
  std::string text = workload::read_file(path);
  MUST_BE(text.size(), count * 10);
  for (int i = 0; i < count; ++i)
    if (atoi(text.substr(i * 10, 9).c_str()) != i) workload::fail("line %d is %s", i, text.substr(i * 10, 9).c_str());
  unlink(path.c_str());
  return workload::passed();
}
