// A session whose controlling terminal is a pseudo-terminal of the tree: foreground and background groups, one that has
// given it up (TIOCNOTTY), a descriptor of /dev/tty. Job control goes on: ^C reaches the foreground group and nobody
// else, and nobody gets a signal from the dump or the restore.
#include <sys/ioctl.h>

#include "contract.h"
#include "family.h"
#include "pty.h"

using namespace workload;

namespace {

void block_all() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, nullptr);
}

bool has_pending(std::initializer_list<int> signals) {
  sigset_t waiting;
  sigpending(&waiting);
  for (const int signal : signals)
    if (sigismember(&waiting, signal) == 1) return true;
  return false;
}

bool got_none() {
  return !has_pending({SIGHUP, SIGCONT, SIGTTOU, SIGTTIN, SIGWINCH, SIGINT, SIGTSTP});
}

bool has_terminal() {
  const int fd = open("/dev/tty", O_RDWR | O_NOCTTY);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

// Ends with 5 when it is as it should be.
[[noreturn]] void end_well(bool well) {
  _exit(well ? 5 : 98);
}

[[noreturn]] void be_foreground(Nursery& nursery) {
  nursery.grown();
  wait_for_end();
  timespec limit{5, 0};
  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  const bool interrupted = sigtimedwait(&interrupt, nullptr, &limit) == SIGINT;
  end_well(interrupted && got_none() && has_terminal() && tcgetpgrp(0) == getpgrp());
}

[[noreturn]] void be_background(Nursery& nursery) {
  nursery.grown();
  wait_for_end();
  end_well(got_none() && has_terminal() && tcgetpgrp(0) != getpgrp());
}

[[noreturn]] void be_without(Nursery& nursery) {
  if (ioctl(0, TIOCNOTTY) != 0) _exit(9);
  nursery.grown();
  wait_for_end();
  end_well(got_none() && !has_terminal());
}

pid_t fork_group(const std::function<void()>& life) {
  const pid_t pid = fork_child([&] {
    setpgid(0, 0);
    life();
  });
  setpgid(pid, pid);
  return pid;
}

// The leader. `go`: a byte comes when the ^C has been typed.
[[noreturn]] void lead(Nursery& nursery, const std::string& path, int go) {
  if (setsid() < 0) _exit(9);
  const int slave = open(path.c_str(), O_RDWR);
  if (slave < 0 || dup2(slave, 0) != 0) _exit(9);
  const int tty = open("/dev/tty", O_RDWR);
  if (tty < 0) _exit(9);
  const pid_t front = fork_group([&] { be_foreground(nursery); });
  const pid_t back = fork_group([&] { be_background(nursery); });
  const pid_t without = fork_group([&] { be_without(nursery); });
  if (tcsetpgrp(0, front) != 0) _exit(9);
  nursery.grown();
  wait_for_end();
  char byte;
  if (read(go, &byte, 1) != 1) _exit(96);
  bool well = tcgetpgrp(tty) == front && tcgetpgrp(0) == front && tcgetsid(0) == getpid() && got_none();
  for (const pid_t pid : {front, back, without}) {
    int status = 0;
    kill(pid, SIGTERM);
    well = waitpid(pid, &status, 0) == pid && status == 5 << 8 && well;
  }
  end_well(well && write(tty, "bye", 3) == 3);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  block_all();
  LowNumbers low;
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  low.release();
  if (master < 0) skip("no pseudo-terminals can be made here");
  MUST(unlockpt(master) == 0);
  const std::string path = ptsname(master);
  int go[2];
  MUST(pipe2(go, O_CLOEXEC) == 0);
  Nursery nursery;
  const pid_t leader = fork_child([&] { lead(nursery, path, go[0]); });
  nursery.expect(4);
  ready();
  wait_for_end();
  MUST_BE(write(master, "\003", 1), 1);
  MUST_BE(write(go[1], "x", 1), 1);
  MUST(kill(leader, SIGTERM) == 0);
  expect_status(leader, 5 << 8);
  const std::string said = read_waiting(master);
  MUST(said.find("^C") != std::string::npos && said.find("bye") != std::string::npos);
  return passed();
}
