// Pseudo-terminals with all their settings: termios, window size, packet, exclusive and lock modes, several opens of a
// slave, /dev/pts/ptmx, a slave that was closed and one that was never opened.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "contract.h"
#include "pty.h"

using namespace workload;

namespace {

void set_termios(int fd) {
  termios t{};
  MUST(tcgetattr(fd, &t) == 0);
  t.c_iflag = IXON | IUTF8 | INLCR;
  t.c_oflag &= ~ONLCR;
  t.c_lflag = ISIG | TOSTOP | IEXTEN;
  t.c_cc[VMIN] = 7, t.c_cc[VTIME] = 3, t.c_cc[VINTR] = 'q', t.c_cc[VEOL2] = '!';
  cfsetspeed(&t, B115200);
  MUST(tcsetattr(fd, TCSANOW, &t) == 0);
}

short state_of(int fd) {
  pollfd p{fd, POLLIN | POLLOUT | POLLPRI, 0};
  MUST(poll(&p, 1, 0) >= 0);
  return p.revents;
}

// Modes, numbers and settings are as they were.
struct Settings {
  termios first{}, second{};
  winsize size{33, 101, 7, 9};
};

void check_settings(const Pty& first, const Pty& second, int again, const Settings& before) {
  termios now{};
  MUST(tcgetattr(first.slave, &now) == 0);
  MUST(memcmp(&now, &before.first, sizeof now) == 0);
  MUST(tcgetattr(second.slave, &now) == 0);
  MUST(memcmp(&now, &before.second, sizeof now) == 0);
  winsize seen{};
  MUST(ioctl(again, TIOCGWINSZ, &seen) == 0);
  MUST(memcmp(&before.size, &seen, sizeof seen) == 0);
  struct stat node {};
  MUST(fstat(first.slave, &node) == 0);
  MUST_BE(node.st_mode & 07777, 0640);
  MUST(std::string(ptsname(first.master)) == first.path && std::string(ttyname(first.slave)) == first.path);
  MUST_BE(number_of(first.master, kGetLock), 0);
  MUST_BE(number_of(first.master, kGetPacket), 0);
  MUST_BE(number_of(second.master, kGetPacket), 1);
  MUST_BE(number_of(first.slave, kGetExclusive), 0);
  MUST_BE(number_of(second.slave, kGetExclusive), 1);
}

// What one end writes the other reads.
void check_talk(const Pty& first, const Pty& second, int again, int copy) {
  char text[16] = {};
  MUST_BE(write(first.master, "1234567", 7), 7);
  MUST_BE(read(copy, text, sizeof text), 7);
  MUST(memcmp(text, "1234567", 7) == 0);
  MUST_BE(write(again, "answer", 6), 6);
  MUST_BE(read(first.master, text, sizeof text), 6);
  MUST_BE(write(second.slave, "packet", 6), 6);
  MUST_BE(read(second.master, text, sizeof text), 7);
  MUST(memcmp(text, "\0packet", 7) == 0);
  MUST(read(again, text, 1) == -1 && errno == EAGAIN);  // O_NONBLOCK is of one open file
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const bool may = access("/dev/pts/ptmx", R_OK | W_OK) == 0;  // devpts(5): mode 000 unless it was mounted otherwise
  LowNumbers low;
  Pty first = open_pty("/dev/ptmx"), second = open_pty(may ? "/dev/pts/ptmx" : "/dev/ptmx");
  Settings settings;
  set_termios(first.slave);
  MUST(ioctl(first.master, TIOCSWINSZ, &settings.size) == 0);
  const int again = open(first.path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK);
  const int reader = open(first.path.c_str(), O_RDONLY | O_NOCTTY | O_CLOEXEC);
  const int copy = dup(first.slave);
  MUST(again >= 0 && reader >= 0 && copy >= 0);
  MUST(fchmod(first.slave, 0640) == 0);
  MUST(ioctl(second.slave, TIOCEXCL) == 0);
  int on = 1;
  MUST(ioctl(second.master, TIOCPKT, &on) == 0);
  MUST(tcgetattr(first.slave, &settings.first) == 0 && tcgetattr(second.slave, &settings.second) == 0);
  Pty closed = open_pty("/dev/ptmx");
  MUST(close(closed.slave) == 0);
  const int virgin = posix_openpt(O_RDWR | O_NOCTTY);
  MUST(virgin >= 0);
  low.release();
  const int closed_state = state_of(closed.master), virgin_state = state_of(virgin);

  ready();
  wait_for_end();

  check_settings(first, second, again, settings);
  MUST_BE(number_of(virgin, kGetLock), 1);
  MUST_BE(state_of(closed.master), closed_state);
  MUST_BE(state_of(virgin), virgin_state);
  MUST_BE(fcntl(again, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_NONBLOCK | O_RDWR);
  MUST_BE(fcntl(reader, F_GETFL) & O_ACCMODE, O_RDONLY);
  check_talk(first, second, again, copy);
  char byte;
  MUST(read(closed.master, &byte, 1) == -1 && errno == EIO);
  return passed();
}
