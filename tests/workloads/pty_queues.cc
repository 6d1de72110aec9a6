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

// Bytes of every value, both ways.
struct Raw {
  Pty pty = open_pty("/dev/ptmx");
  std::string down = all_bytes(3000, 7), up = all_bytes(3900, 11);
  Raw() {
    set_flags(pty.slave, 0, 0, 0);
    put(pty.master, down), put(pty.slave, up);
    await_bytes(pty.slave, 3000), await_bytes(pty.master, 3900);
  }
  void verify() const {
    MUST(read_waiting(pty.slave) == down);
    MUST(read_waiting(pty.master) == up);
  }
};

// Canonical with everything on: lines, a quoted line feed inside of one, "abc" ended by an end of file, one of its own,
// a line with control characters that were quoted, and one that is not complete. Echo goes up.
struct Lines {
  Pty pty = open_pty("/dev/ptmx");
  int echoed = 0;
  Lines() {
    set_flags(pty.slave, ICRNL | IXON | IUTF8, OPOST | ONLCR, ICANON | ECHO | ECHOE | ECHOK | ISIG | IEXTEN);
    put(pty.master, "first\rse\026\ncond\nabc\004\004q\026\003\026\004\026\026\026\025\nunfinishe");
    await_bytes(pty.slave, 6 + 8 + 3 + 6);
    sleep_ms(50);
    put(pty.slave, "output\n");
    sleep_ms(50);
    MUST(ioctl(pty.master, FIONREAD, &echoed) == 0);
  }
  void verify() const {
    int waiting = 0;
    MUST(ioctl(pty.master, FIONREAD, &waiting) == 0);
    MUST_BE(waiting, echoed);
    MUST(read_line(pty.slave) == "first\n");
    MUST(read_line(pty.slave) == "se\ncond\n");
    MUST(read_line(pty.slave) == "abc");
    MUST(read_line(pty.slave).empty());
    MUST(read_line(pty.slave) == "q\003\004\026\025\n");
    pollfd none{pty.slave, POLLIN, 0};
    MUST_BE(poll(&none, 1, 50), 0);
    const std::string echo = read_waiting(pty.master);
    MUST(echo.find("output\r\n") != std::string::npos && echo.find("unfinishe") != std::string::npos);
    put(pty.master, "\177xd\n");  // the unfinished one can still be changed
    MUST(read_line(pty.slave) == "unfinishxd\n");
  }
};

// Nothing but a line that is not complete: nobody is told that it is there.
struct Partial {
  Pty pty = open_pty("/dev/ptmx");
  Partial() {
    set_flags(pty.slave, ICRNL, OPOST, ICANON | IEXTEN);
    put(pty.master, "ab\377\026\nX");
    sleep_ms(50);
  }
  void verify() const {
    pollfd none{pty.slave, POLLIN, 0};
    MUST_BE(poll(&none, 1, 50), 0);
    put(pty.master, "Y\n");
    MUST(read_line(pty.slave) == "ab\377\nXY\n");
  }
};

struct Packets {
  Pty pty = open_pty("/dev/ptmx");
  Packets() {
    int on = 1;
    set_flags(pty.slave, 0, 0, 0);
    MUST(ioctl(pty.master, TIOCPKT, &on) == 0);
    put(pty.slave, "in packets");
    await_bytes(pty.master, 10);
  }
  void verify() const {
    char text[20];
    MUST_BE(read(pty.master, text, sizeof text), 11);
    MUST(memcmp(text, "\0in packets", 11) == 0);
    pollfd none{pty.master, POLLPRI, 0};
    MUST_BE(poll(&none, 1, 0), 0);
  }
};

// Output for a master whose slave is closed.
struct Widow {
  Pty pty = open_pty("/dev/ptmx");
  Widow() {
    set_flags(pty.slave, 0, 0, 0);
    put(pty.slave, "last words");
    await_bytes(pty.master, 10);
    MUST(close(pty.slave) == 0);
  }
  void verify() const {
    char text[20];
    MUST_BE(read(pty.master, text, sizeof text), 10);
    MUST(memcmp(text, "last words", 10) == 0);
    MUST(read(pty.master, text, 1) == -1 && errno == EIO);
  }
};

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  LowNumbers low;
  const Raw raw;
  const Lines lines;
  const Partial partial;
  Pty empty = open_pty("/dev/ptmx");
  const Packets packets;
  const Widow widow;
  low.release();
  ready();
  wait_for_end();
  raw.verify();
  lines.verify();
  partial.verify();
  put(empty.master, "hello\n");
  MUST(read_line(empty.slave) == "hello\n");
  MUST(read_waiting(empty.master) == "hello\r\n");
  packets.verify();
  widow.verify();
  return passed();
}
