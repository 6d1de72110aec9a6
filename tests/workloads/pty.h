// Pseudo-terminals for workloads.
#pragma once

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "contract.h"

namespace workload {

constexpr unsigned long kGetPacket = _IOR('T', 0x38, int), kGetLock = _IOR('T', 0x39, int);
constexpr unsigned long kGetExclusive = _IOR('T', 0x40, int);

// Until it is released the low numbers of /dev/pts are taken: the terminals that are made meanwhile get high ones,
// which nobody else is given between a dump and its restore.
class LowNumbers {
 public:
  LowNumbers() {
    for (int& fd : held_) fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  }
  ~LowNumbers() { release(); }
  void release() {
    for (int& fd : held_) {
      if (fd >= 0) close(fd);
      fd = -1;
    }
  }
  LowNumbers(const LowNumbers&) = delete;

 private:
  int held_[40];
};

struct Pty {
  int master = -1, slave = -1;
  std::string path;
};

inline Pty open_pty(const char* ptmx) {
  Pty pty;
  pty.master = open(ptmx, O_RDWR | O_NOCTTY);
  if (pty.master < 0) skip("no pseudo-terminals can be made here");
  MUST(unlockpt(pty.master) == 0);
  pty.path = ptsname(pty.master);
  pty.slave = open(pty.path.c_str(), O_RDWR | O_NOCTTY);
  MUST(pty.slave >= 0);
  return pty;
}

inline int number_of(int fd, unsigned long request) {
  int value = -1;
  MUST(ioctl(fd, request, &value) == 0);
  return value;
}

inline void set_flags(int fd, unsigned input, unsigned output, unsigned local) {
  termios t{};
  MUST(tcgetattr(fd, &t) == 0);
  t.c_iflag = input, t.c_oflag = output, t.c_lflag = local;
  t.c_cc[VMIN] = 1, t.c_cc[VTIME] = 0;
  MUST(tcsetattr(fd, TCSANOW, &t) == 0);
}

// Reads until nothing comes any more for a moment.
inline std::string read_waiting(int fd) {
  std::string all;
  for (pollfd p{fd, POLLIN, 0}; poll(&p, 1, 100) == 1 && (p.revents & POLLIN);) {
    char part[4096];
    const ssize_t n = read(fd, part, sizeof part);
    MUST(n >= 0);
    if (n == 0) break;
    all.append(part, static_cast<size_t>(n));
  }
  return all;
}

inline void await_bytes(int fd, int bytes) {
  for (int turn = 0; turn < 5000; ++turn) {
    int there = 0;
    pollfd p{fd, POLLIN, 0};
    poll(&p, 1, 0);
    MUST(ioctl(fd, FIONREAD, &there) == 0);
    if (there >= bytes) return;
    sleep_ms(1);
  }
  fail("the terminal did not get its bytes");
}

}  // namespace workload
