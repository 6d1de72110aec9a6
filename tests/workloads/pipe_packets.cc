// A packet pipe (O_DIRECT): the boundaries between writes stay.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  int ends[2];
  MUST(pipe2(ends, O_DIRECT) == 0);
  const size_t sizes[] = {10, 1, 4096, 700, 3, 3};
  for (size_t i = 0; i < 6; ++i) {
    std::vector<unsigned char> packet(sizes[i]);
    workload::fill(packet.data(), packet.size(), 120 + i);
    MUST_BE(write(ends[1], packet.data(), packet.size()), packet.size());
  }
  workload::ready();
  workload::wait_for_end();
  MUST(fcntl(ends[0], F_GETFL) & O_DIRECT || fcntl(ends[1], F_GETFL) & O_DIRECT);
  for (size_t i = 0; i < 6; ++i) {
    std::vector<unsigned char> packet(8192);
    MUST_BE(read(ends[0], packet.data(), packet.size()), sizes[i]);
    MUST_BE(workload::differs(packet.data(), sizes[i], 120 + i), -1);
  }
  MUST_BE(write(ends[1], "ab", 2), 2);
  MUST_BE(write(ends[1], "cd", 2), 2);
  char buffer[16];
  MUST_BE(read(ends[0], buffer, sizeof buffer), 2);
  return workload::passed();
}
