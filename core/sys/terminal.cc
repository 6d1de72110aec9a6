#include "core/sys/terminal.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

constexpr unsigned long kGetTermios = _IOR('T', 0x2A, termios2), kSetTermios = _IOW('T', 0x2B, termios2);
constexpr unsigned long kGetDevice = _IOR('T', 0x32, unsigned), kGetIndex = _IOR('T', 0x30, unsigned);
constexpr unsigned long kGetPacket = _IOR('T', 0x38, int), kGetLock = _IOR('T', 0x39, int);
constexpr unsigned long kSetLock = _IOW('T', 0x31, int), kGetExclusive = _IOR('T', 0x40, int);
constexpr unsigned long kGetPeer = _IO('T', 0x41);  // 4.13

int get_number(int fd, unsigned long request, const char* name) {
  int value = 0;
  check(::ioctl(fd, request, &value), name);
  return value;
}

}  // namespace

Termios get_termios(int fd) {
  termios2 raw{};
  check(::ioctl(fd, kGetTermios, &raw), "ioctl(TCGETS2)");
  Termios termios{raw.c_iflag, raw.c_oflag, raw.c_cflag, raw.c_lflag, raw.c_line, {}, raw.c_ispeed, raw.c_ospeed};
  std::copy(std::begin(raw.c_cc), std::end(raw.c_cc), termios.cc.begin());
  return termios;
}

void set_termios(int fd, const Termios& termios) {
  termios2 raw{};
  raw.c_iflag = termios.iflag, raw.c_oflag = termios.oflag, raw.c_cflag = termios.cflag, raw.c_lflag = termios.lflag;
  raw.c_line = termios.line, raw.c_ispeed = termios.ispeed, raw.c_ospeed = termios.ospeed;
  std::copy(termios.cc.begin(), termios.cc.end(), std::begin(raw.c_cc));
  check(::ioctl(fd, kSetTermios, &raw), "ioctl(TCSETS2)");
}

Termios raw(Termios termios) {
  termios.iflag &= ~static_cast<uint32_t>(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
  termios.oflag &= ~static_cast<uint32_t>(OPOST);
  termios.lflag &= ~static_cast<uint32_t>(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
  termios.cflag = (termios.cflag & ~static_cast<uint32_t>(CSIZE | PARENB)) | CS8;
  termios.cc[VMIN] = 1, termios.cc[VTIME] = 0;
  return termios;
}

WindowSize get_window_size(int fd) {
  winsize raw{};
  check(::ioctl(fd, TIOCGWINSZ, &raw), "ioctl(TIOCGWINSZ)");
  return {raw.ws_row, raw.ws_col, raw.ws_xpixel, raw.ws_ypixel};
}

void set_window_size(int fd, const WindowSize& size) {
  const winsize raw{size.rows, size.columns, size.xpixels, size.ypixels};
  check(::ioctl(fd, TIOCSWINSZ, &raw), "ioctl(TIOCSWINSZ)");
}

pid_t session_of_terminal(int fd) {
  pid_t session = 0;
  return ::ioctl(fd, TIOCGSID, &session) == 0 ? session : 0;
}

pid_t foreground_of_terminal(int fd) {
  pid_t group = 0;
  return ::ioctl(fd, TIOCGPGRP, &group) == 0 ? group : 0;
}

// new_encode_dev() of the kernel, and what it answers for a file that was hung up.
std::optional<dev_t> terminal_device(int fd) {
  unsigned number = 0;
  if (::ioctl(fd, kGetDevice, &number) != 0) {
    if (errno == EIO) return std::nullopt;
    throw_code(errno, "ioctl(TIOCGDEV)");
  }
  return makedev((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
}

int line_discipline(int fd) {
  return get_number(fd, TIOCGETD, "ioctl(TIOCGETD)");
}
bool is_exclusive(int fd) {
  return get_number(fd, kGetExclusive, "ioctl(TIOCGEXCL)") != 0;
}
void set_exclusive(int fd) {
  check(::ioctl(fd, TIOCEXCL), "ioctl(TIOCEXCL)");
}

void write_nothing(int fd) {
  check(::write(fd, "", 0), "write");
}

uint32_t pty_index(int master) {
  return static_cast<uint32_t>(get_number(master, kGetIndex, "ioctl(TIOCGPTN)"));
}
bool is_pty_locked(int master) {
  return get_number(master, kGetLock, "ioctl(TIOCGPTLCK)") != 0;
}
void set_pty_lock(int master, bool locked) {
  const int value = locked ? 1 : 0;
  check(::ioctl(master, kSetLock, &value), "ioctl(TIOCSPTLCK)");
}
bool is_packet_mode(int master) {
  return get_number(master, kGetPacket, "ioctl(TIOCGPKT)") != 0;
}
void set_packet_mode(int master, bool on) {
  const int value = on ? 1 : 0;
  check(::ioctl(master, TIOCPKT, &value), "ioctl(TIOCPKT)");
}

std::optional<UniqueFd> try_open_peer(int master, int flags) {
  UniqueFd peer(::ioctl(master, kGetPeer, flags | O_NOCTTY | O_CLOEXEC));
  if (!peer.valid()) {
    if (errno == EIO || errno == EBUSY) return std::nullopt;
    throw_code(errno, "ioctl(TIOCGPTPEER)");
  }
  return peer;
}

Pty make_pty() {
  Pty pty;
  pty.master = UniqueFd(check(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), "open /dev/ptmx"));
  set_pty_lock(pty.master.get(), false);
  auto slave = try_open_peer(pty.master.get(), O_RDWR);
  if (!slave) throw_code(EIO, "open the slave of a pseudo-terminal");
  pty.slave = std::move(*slave);
  return pty;
}

std::optional<size_t> try_read_master(int master, void* data, size_t size) {
  ssize_t n = -1;
  while ((n = ::read(master, data, size)) < 0 && errno == EINTR) {
  }
  if (n < 0 && errno == EIO) return std::nullopt;
  return static_cast<size_t>(check(n, "read a terminal"));
}

void take_terminal(int fd) {
  check(::ioctl(fd, TIOCSCTTY, 0), "ioctl(TIOCSCTTY)");
}
void leave_terminal(int fd) {
  check(::ioctl(fd, TIOCNOTTY), "ioctl(TIOCNOTTY)");
}

}  // namespace mcr::sys
