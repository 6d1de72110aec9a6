// Slaves that were hung up because their master was closed; their number has a new owner meanwhile, or none.
#include "contract.h"
#include "pty.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  LowNumbers low;
  Pty first = open_pty("/dev/ptmx"), second = open_pty("/dev/ptmx");
  MUST(close(second.master) == 0 && close(first.master) == 0);
  Pty living = open_pty("/dev/ptmx");
  low.release();
  ready();
  wait_for_end();
  char byte = 'x';
  for (const int slave : {first.slave, second.slave}) {
    MUST_BE(read(slave, &byte, 1), 0);
    MUST(write(slave, &byte, 1) == -1 && errno == EIO);
    pollfd p{slave, POLLIN | POLLOUT, 0};
    MUST_BE(poll(&p, 1, 0), 1);
    MUST(p.revents & POLLHUP);
    termios t{};
    MUST(tcgetattr(slave, &t) == -1 && errno == EIO);
  }
  MUST_BE(write(living.slave, "y", 1), 1);
  MUST_BE(read(living.master, &byte, 1), 1);
  MUST_BE(byte, 'y');
  return passed();
}
