// What waits in pseudo-terminals, both ways: raw bytes of all values, canonical lines, ends of file, characters that
// were quoted, a line that is not complete, and output in packet mode.
#include "contract.h"
#include "pty.h"

using namespace workload;

namespace {

std::string all_bytes(size_t size, int step) {
  std::string bytes;
  for (size_t i = 0; i < size; ++i) bytes += static_cast<char>(i * static_cast<size_t>(step));
  return bytes;
}

std::string read_line(int fd) {
  char text[5000];
  pollfd p{fd, POLLIN, 0};
  MUST_BE(poll(&p, 1, 1000), 1);
  const ssize_t n = read(fd, text, sizeof text);
  MUST(n >= 0);
  return std::string(text, static_cast<size_t>(n));
}

void put(int fd, const std::string& bytes) {
  MUST_BE(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  // Raw: bytes of every value, both ways.
  Pty raw = open_pty("/dev/ptmx");
  set_flags(raw.slave, 0, 0, 0);
  const std::string down = all_bytes(3000, 7), up = all_bytes(3900, 11);
  put(raw.master, down), put(raw.slave, up);
  await_bytes(raw.slave, 3000), await_bytes(raw.master, 3900);

  // Canonical with everything on: lines, a quoted line feed inside of one, "abc" ended by an end of file, one of its
  // own, a line with control characters that were quoted, and one that is not complete. Echo goes up.
  Pty lines = open_pty("/dev/ptmx");
  set_flags(lines.slave, ICRNL | IXON | IUTF8, OPOST | ONLCR, ICANON | ECHO | ECHOE | ECHOK | ISIG | IEXTEN);
  put(lines.master, "first\rse\026\ncond\nabc\004\004q\026\003\026\004\026\026\026\025\nunfinishe");
  await_bytes(lines.slave, 6 + 8 + 3 + 6);
  sleep_ms(50);
  put(lines.slave, "output\n");
  sleep_ms(50);
  int echoed = 0;
  MUST(ioctl(lines.master, FIONREAD, &echoed) == 0);

  // Nothing but a line that is not complete: nobody is told that it is there.
  Pty partial = open_pty("/dev/ptmx");
  set_flags(partial.slave, ICRNL, OPOST, ICANON | IEXTEN);
  put(partial.master, "ab\377\026\nX");
  sleep_ms(50);

  // Nothing waits, in the same settings.
  Pty empty = open_pty("/dev/ptmx");

  // Packet mode, output.
  Pty packet = open_pty("/dev/ptmx");
  set_flags(packet.slave, 0, 0, 0);
  int on = 1;
  MUST(ioctl(packet.master, TIOCPKT, &on) == 0);
  put(packet.slave, "in packets");
  await_bytes(packet.master, 10);

  // Output for a master whose slave is closed.
  Pty widow = open_pty("/dev/ptmx");
  set_flags(widow.slave, 0, 0, 0);
  put(widow.slave, "last words");
  await_bytes(widow.master, 10);
  MUST(close(widow.slave) == 0);

  ready();
  wait_for_end();

  char text[5000];
  MUST(read_waiting(raw.slave) == down);
  MUST(read_waiting(raw.master) == up);

  int waiting = 0;
  MUST(ioctl(lines.master, FIONREAD, &waiting) == 0);
  MUST_BE(waiting, echoed);
  MUST(read_line(lines.slave) == "first\n");
  MUST(read_line(lines.slave) == "se\ncond\n");
  MUST(read_line(lines.slave) == "abc");
  MUST(read_line(lines.slave).empty());
  MUST(read_line(lines.slave) == "q\003\004\026\025\n");
  pollfd none{lines.slave, POLLIN, 0};
  MUST_BE(poll(&none, 1, 50), 0);
  const std::string echo = read_waiting(lines.master);
  MUST(echo.find("output\r\n") != std::string::npos && echo.find("unfinishe") != std::string::npos);
  put(lines.master, "\177xd\n");  // the unfinished one can still be changed
  MUST(read_line(lines.slave) == "unfinishxd\n");

  MUST_BE(poll((none.fd = partial.slave, &none), 1, 50), 0);
  put(partial.master, "Y\n");
  MUST(read_line(partial.slave) == "ab\377\nXY\n");

  put(empty.master, "hello\n");
  MUST(read_line(empty.slave) == "hello\n");
  MUST(read_waiting(empty.master) == "hello\r\n");

  MUST_BE(read(packet.master, text, sizeof text), 11);
  MUST(memcmp(text, "\0in packets", 11) == 0);
  MUST_BE(poll((none.fd = packet.master, none.events = POLLPRI, &none), 1, 0), 0);

  MUST_BE(read(widow.master, text, sizeof text), 10);
  MUST(memcmp(text, "last words", 10) == 0);
  MUST(read(widow.master, text, 1) == -1 && errno == EIO);
  return passed();
}
