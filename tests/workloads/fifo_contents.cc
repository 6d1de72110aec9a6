// FIFOs: open for reading and for writing, with contents; one open for both.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string path = workload::prefix + ".fifo", both_path = workload::prefix + ".fifo.both";
  unlink(path.c_str());
  unlink(both_path.c_str());
  MUST(mkfifo(path.c_str(), 0600) == 0 && mkfifo(both_path.c_str(), 0600) == 0);
  int reader = open(path.c_str(), O_RDONLY | O_NONBLOCK), writer = open(path.c_str(), O_WRONLY);
  int both = open(both_path.c_str(), O_RDWR);
  MUST(reader >= 0 && writer >= 0 && both >= 0);
  MUST_BE(write(writer, "in the fifo", 11), 11);
  MUST_BE(write(both, "in both", 7), 7);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(fcntl(reader, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
  MUST_BE(fcntl(writer, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY);
  char buffer[32];
  MUST_BE(read(reader, buffer, sizeof buffer), 11);
  MUST(memcmp(buffer, "in the fifo", 11) == 0);
  MUST_BE(read(reader, buffer, sizeof buffer), -1);
  MUST_BE(errno, EAGAIN);
  MUST_BE(read(both, buffer, sizeof buffer), 7);
  // It is the FIFO of the file system, not a pipe that looks like it.
  int other = open(path.c_str(), O_WRONLY | O_NONBLOCK);
  MUST(other >= 0);
  MUST_BE(write(other, "again", 5), 5);
  MUST_BE(read(reader, buffer, sizeof buffer), 5);
  close(other);
  close(writer);
  MUST_BE(read(reader, buffer, sizeof buffer), 0);
  unlink(path.c_str());
  unlink(both_path.c_str());
  return workload::passed();
}
