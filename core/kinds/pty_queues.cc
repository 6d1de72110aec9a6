#include "core/kinds/pty_queues.h"

#include <asm/termbits.h>
#include <poll.h>
#include <time.h>

#include <chrono>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

constexpr int kFull = 4095;       // N_TTY_BUF_SIZE - 1
constexpr int kManyLines = 2048;  // of a line that follows complete ones nothing is counted: leave it room
constexpr char kEndOfFile = 4, kLiteralNext = 0x16, kKill = 0x15;
constexpr std::chrono::seconds kPatience{5};

// What is typed comes through as it is, and the three characters by which the rest is made. IXON stays, as taking it
// away starts stopped output (n_tty_set_termios). In canonical mode an echo tells when a character has arrived.
sys::Termios literal(const sys::Termios& termios) {
  sys::Termios plain = termios;
  plain.iflag &= IXON;
  plain.oflag = 0;
  plain.lflag &= ICANON | EXTPROC;
  plain.cc = {};
  plain.cc[VMIN] = 1;
  if (!is_canonical(termios)) return plain;
  plain.lflag |= IEXTEN | ECHO;
  plain.cc[VEOF] = kEndOfFile, plain.cc[VLNEXT] = kLiteralNext, plain.cc[VKILL] = kKill;
  return plain;
}

// poll(2) of a terminal without input first lets the kernel finish what it has under way (n_tty_poll).
bool has_input(int fd) {
  return (sys::poll_now(fd, POLLIN) & POLLIN) != 0;
}

std::string take_one(int fd) {
  std::string bytes(8192, '\0');
  bytes.resize(sys::read_some(fd, bytes.data(), bytes.size()));
  return bytes;
}

std::string take_all(int fd) {
  std::string bytes;
  while (has_input(fd)) bytes += take_one(fd);
  return bytes;
}

bool wait_for_bytes(int fd, size_t bytes) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  constexpr timespec kTurn{0, 200'000};
  while (static_cast<size_t>(sys::bytes_readable(fd)) < bytes) {
    if (std::chrono::steady_clock::now() > end) return false;
    has_input(fd);
    ::nanosleep(&kTurn, nullptr);
  }
  return true;
}

// Types it at the master, in pieces, and takes away the echo of each: then it has arrived.
class Typist {
 public:
  Typist(int master, int slave) : master_(master), slave_(slave) {}

  void type_canonical(const PtyQueues& queues) {
    for (const std::string& line : queues.lines) {
      const bool ends = line.ends_with('\n');
      add_literally(std::string_view(line).substr(0, line.size() - (ends ? 1 : 0)));
      ends ? add('\n', true) : add(kEndOfFile, false);
    }
    // An end of file has no echo. What is typed and killed again has, and comes after it.
    if (!queues.lines.empty()) add('x', true), add(kKill, true);
    add_literally(queues.input);
    flush();
  }

  void type_bytes(const std::string& bytes) {
    sys::write_patiently(master_, bytes.data(), bytes.size());
    if (!wait_for_bytes(slave_, bytes.size())) complain();
  }

 private:
  void add(char c, bool echoes) {
    typed_ += c;
    echoes_ += echoes ? 1 : 0;
    if (typed_.size() >= 1024) flush();
  }
  void add_literally(std::string_view text) {
    for (const char c : text) {
      if (c == '\n' || c == kEndOfFile || c == kLiteralNext || c == kKill) add(kLiteralNext, false);
      add(c, true);
    }
  }
  void flush() {
    sys::write_patiently(master_, typed_.data(), typed_.size());
    if (!wait_for_bytes(master_, echoes_)) complain();
    take_all(master_);
    typed_.clear(), echoes_ = 0;
  }
  static void complain() { log::warning("kinds", "a terminal has not taken back all of its input in time"); }

  int master_, slave_;
  std::string typed_;
  size_t echoes_ = 0;
};

void put_back(int master, int slave, const sys::Termios& termios, const PtyQueues& queues) {
  Typist typist(master, slave);
  if (is_canonical(termios))
    typist.type_canonical(queues);
  else if (!queues.input.empty())
    typist.type_bytes(queues.input);
  sys::write_patiently(slave, queues.output.data(), queues.output.size());
  if (!wait_for_bytes(master, queues.output.size()))
    log::warning("kinds", "a terminal has not taken back all of its output in time");
}

// Changed settings are told to a master in packet mode (pty_set_termios). Turning the mode on forgets what was to be
// told, which was nothing: require_readable().
class WithoutPackets {
 public:
  explicit WithoutPackets(int master) : master_(master), was_on_(sys::is_packet_mode(master)) {
    if (was_on_) sys::set_packet_mode(master_, false);
  }
  ~WithoutPackets() {
    try {
      if (was_on_) sys::set_packet_mode(master_, true);
    } catch (const Error& error) {
      log::error("kinds", "packet mode of a terminal: {}", error.reason());
    }
  }
  WithoutPackets(const WithoutPackets&) = delete;
  WithoutPackets& operator=(const WithoutPackets&) = delete;

 private:
  int master_;
  bool was_on_;
};

class OldTermios {
 public:
  OldTermios(int master, const sys::Termios& termios) : master_(master), termios_(termios) {}
  ~OldTermios() {
    try {
      sys::set_termios(master_, termios_);
    } catch (const Error& error) {
      log::error("kinds", "settings of a terminal: {}", error.reason());
    }
  }
  OldTermios(const OldTermios&) = delete;
  OldTermios& operator=(const OldTermios&) = delete;

 private:
  int master_;
  const sys::Termios& termios_;
};

sys::Termios as_bytes(const sys::Termios& termios) {
  sys::Termios bytes = literal(termios);
  bytes.lflag = 0;
  return bytes;
}

// Turning ICANON on again makes a line of all that waits (n_tty_set_termios): so it waits nowhere then.
void take_canonical(int slave, int master, const sys::Termios& termios, PtyQueues& queues) {
  while (has_input(slave)) queues.lines.push_back(take_one(slave));
  sys::set_termios(master, as_bytes(termios));
  queues.input = take_all(slave);
  sys::set_termios(master, literal(termios));
}

// What has been taken when it fails goes back.
void take(int master, int slave, const sys::Termios& termios, PtyQueues& queues) {
  try {
    queues.output = take_all(master);
    if (is_canonical(termios))
      take_canonical(slave, master, termios, queues);
    else
      queues.input = take_all(slave);
  } catch (const Error&) {
    put_back(master, slave, termios, queues);
    throw;
  }
}

}  // namespace

bool is_canonical(const sys::Termios& termios) {
  return (termios.lflag & ICANON) && !(termios.lflag & EXTPROC);
}

void require_readable(int master, int slave, const sys::Termios& termios) {
  const auto refuse = [](const std::string& what, const char* remedy) { throw Error(Fault::refused, what, remedy); };
  constexpr const char* kLater = "let it be read, or dump again a moment later";
  if (termios.line != 0 || sys::line_discipline(master) != 0)
    refuse(fmt::format("it has line discipline {}", termios.line), "only N_TTY (0) can be saved");
  if (sys::is_packet_mode(master) && (sys::poll_now(master, POLLPRI) & POLLPRI))
    refuse("a status byte of packet mode (TIOCPKT) waits to be read", "it cannot be put back: let the program read it");
  has_input(master);
  if (sys::bytes_readable(master) >= kFull) refuse("4 KiB or more of output wait for the reader of its master", kLater);
  if (slave < 0) return;
  if (!(sys::poll_now(slave, POLLOUT) & POLLOUT))
    refuse("its output is stopped (^S, TCOOFF), and what its echo holds back cannot be seen", "start it (^Q, TCOON)");
  has_input(slave);
  if (sys::bytes_readable(slave) >= (is_canonical(termios) ? kManyLines : kFull))
    refuse(fmt::format("{} KiB or more of input wait for the reader of its slave", is_canonical(termios) ? 2 : 4),
           kLater);
  if (!(sys::poll_now(master, POLLOUT) & POLLOUT))
    refuse("its input is full, or stopped (TCOOFF on the master)", "let it be read, or start it (TCOON)");
}

PtyQueues read_queues(int master, int slave) {
  PtyQueues queues;
  const sys::Termios termios = sys::get_termios(master);
  // Echoes that found no room once go out with the next write; they come before what is put back so.
  if (termios.lflag & (ECHO | ECHONL)) sys::write_nothing(slave);
  has_input(master), has_input(slave);
  const bool has_output = sys::bytes_readable(master) > 0;
  if (sys::bytes_readable(master) >= kFull)
    throw Error(Fault::refused, "4 KiB or more of output wait for the reader of its master", "let it be read");
  const WithoutPackets no_packets(master);
  if (is_canonical(termios) && !has_output && !has_input(slave)) {
    const OldTermios old(master, termios);
    sys::set_termios(master, as_bytes(termios));
    if (sys::bytes_readable(slave) == 0) return queues;
    queues.input = take_all(slave);
    sys::set_termios(master, literal(termios));
    put_back(master, slave, termios, queues);
    return queues;
  }
  if (!is_canonical(termios) && !has_output && sys::bytes_readable(slave) == 0) return queues;
  const OldTermios old(master, termios);
  sys::set_termios(master, literal(termios));
  take(master, slave, termios, queues);
  put_back(master, slave, termios, queues);
  return queues;
}

void fill_queues(int master, int slave, const sys::Termios& termios, const PtyQueues& queues) {
  sys::set_termios(master, literal(termios));
  put_back(master, slave, termios, queues);
  sys::set_termios(master, termios);
}

}  // namespace mcr::kinds
