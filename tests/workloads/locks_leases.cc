// Leases to read and to write, with their signal: who opens the file is told to wait, and the holder is told.
#include <signal.h>
#include <sys/file.h>

#include "family.h"

using namespace workload;

namespace {

// Tries to open it while it is leased; returns the signal that we got for it, 0 for none.
int signal_of_opening(const std::string& path, int flags, const sigset_t& set, int& fd) {
  pid_t child = fork_child([&] {
    int other = open(path.c_str(), flags | O_NONBLOCK);
    _exit(other < 0 ? errno : 0);
  });
  int status = 0;
  if (waitpid(child, &status, 0) != child) fail("waitpid: %s", strerror(errno));
  siginfo_t info{};
  timespec limit{0, 100'000'000};
  int got = sigtimedwait(&set, &info, &limit);
  if (got > 0) fd = info.si_fd;
  MUST_BE(WEXITSTATUS(status), got > 0 ? EWOULDBLOCK : 0);
  return got > 0 ? got : 0;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGIO), sigaddset(&set, SIGRTMIN + 3);
  MUST_BE(sigprocmask(SIG_BLOCK, &set, nullptr), 0);
  const std::string reading = prefix + ".read", writing = prefix + ".write", gone = prefix + ".gone";
  write_file(reading, "read"), write_file(writing, "write");
  int reader = open(reading.c_str(), O_RDONLY), writer = open(writing.c_str(), O_RDWR);
  if (fcntl(reader, F_SETLEASE, F_RDLCK) != 0) skip("this file system has no leases");
  MUST_BE(fcntl(reader, F_SETSIG, SIGRTMIN + 3), 0);
  MUST_BE(fcntl(writer, F_SETLEASE, F_WRLCK), 0);
  int deleted = open(gone.c_str(), O_RDWR | O_CREAT, 0600);
  MUST_BE(write(deleted, "gone", 4), 4);
  MUST_BE(fcntl(deleted, F_SETLEASE, F_WRLCK), 0);
  MUST_BE(unlink(gone.c_str()), 0);
  ready("dump --file-locks\n");
  wait_for_end();

  MUST_BE(fcntl(reader, F_GETLEASE), F_RDLCK);
  MUST_BE(fcntl(writer, F_GETLEASE), F_WRLCK);
  MUST_BE(fcntl(deleted, F_GETLEASE), F_WRLCK);
  char text[5] = {};
  MUST_BE(pread(deleted, text, 4, 0), 4);
  MUST_BE(strcmp(text, "gone"), 0);
  int fd = -1;
  MUST_BE(signal_of_opening(reading, O_RDONLY, set, fd), 0);  // a reader disturbs nobody
  MUST_BE(signal_of_opening(reading, O_WRONLY, set, fd), SIGRTMIN + 3);
  MUST_BE(fd, reader);
  MUST_BE(signal_of_opening(writing, O_RDONLY, set, fd), SIGIO);
  MUST_BE(fcntl(writer, F_SETLEASE, F_UNLCK), 0);
  MUST_BE(signal_of_opening(writing, O_RDONLY, set, fd), 0);
  return passed();
}
