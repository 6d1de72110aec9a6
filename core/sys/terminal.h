// Pseudo-terminals and their settings (pts(4), ioctl_tty(2)). Every function throws Error unless its comment names an
// expected outcome. Any thread.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>

#include "core/base/unique_fd.h"

namespace mcr::sys {

struct Termios {  // struct termios2 (asm/termbits.h)
  uint32_t iflag = 0, oflag = 0, cflag = 0, lflag = 0;
  uint8_t line = 0;  // the line discipline
  std::array<uint8_t, 19> cc{};
  uint32_t ispeed = 0, ospeed = 0;
};
struct WindowSize {
  uint16_t rows = 0, columns = 0, xpixels = 0, ypixels = 0;
};

// Through a master these are the slave's.
Termios get_termios(int fd);
void set_termios(int fd, const Termios& termios);  // at once (TCSETS2)
Termios raw(Termios termios);                      // every byte as it is, both ways (cfmakeraw(3)). Pure
WindowSize get_window_size(int fd);
void set_window_size(int fd, const WindowSize& size);
// 0: nobody's controlling terminal, or of a session in another pid namespace.
pid_t session_of_terminal(int fd);
pid_t foreground_of_terminal(int fd);
// The device number of the terminal itself, also behind /dev/tty (TIOCGDEV, 2.6.36). nullopt: it was hung up.
std::optional<dev_t> terminal_device(int fd);
int line_discipline(int fd);  // N_*; of this end
bool is_exclusive(int fd);    // TIOCGEXCL (3.8); of this end
void set_exclusive(int fd);

// A write of no bytes: echoes that wait for room go out.
void write_nothing(int fd);

// Of a master.
uint32_t pty_index(int master);
bool is_pty_locked(int master);  // TIOCGPTLCK (3.8)
void set_pty_lock(int master, bool locked);
bool is_packet_mode(int master);  // TIOCGPKT (3.8)
void set_packet_mode(int master, bool on);
// The slave of this master, wherever its file system is mounted (TIOCGPTPEER, 4.13), with O_NOCTTY. nullopt: it is
// locked, or another's alone (TIOCEXCL).
std::optional<UniqueFd> try_open_peer(int master, int flags);

// A new one, unlocked. The slave is opened without becoming anybody's terminal.
struct Pty {
  UniqueFd master, slave;
};
Pty make_pty();
// By who has the master. nullopt: nobody has the slave open (EIO).
std::optional<size_t> try_read_master(int master, void* data, size_t size);

// By a leader of a session that has no controlling terminal.
void take_terminal(int fd);   // TIOCSCTTY
void leave_terminal(int fd);  // TIOCNOTTY; its foreground group gets SIGHUP and SIGCONT

}  // namespace mcr::sys
