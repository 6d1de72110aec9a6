#include "core/sys/successor.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::sys {
namespace {

// In the child of a process that may have had other threads; nothing here allocates.
[[noreturn]] void stand_by(int line, char* const* arguments, const sigset_t& mask) {
  char byte = 0;
  ssize_t n = -1;
  while ((n = ::read(line, &byte, 1)) < 0 && errno == EINTR) {
  }
  if (n == 1) ::_exit(0);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::execv("/proc/self/exe", arguments);
  ::_exit(1);
}

}  // namespace

Successor::Successor(const std::vector<std::string>& arguments) {
  SocketPair pair = make_socket_pair();
  std::string name = "mini-criu";
  std::vector<std::string> words(arguments);
  std::vector<char*> pointers{name.data()};
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  sigset_t none;
  sigemptyset(&none);
  const BlockAllSignals no_signals;  // what is sent to our whole group is not for it
  pid_ = static_cast<pid_t>(check(::fork(), "fork"));
  if (pid_ == 0) {
    ::close(pair.ours.get());
    stand_by(pair.theirs.get(), pointers.data(), none);
  }
  ::setpgid(pid_, pid_);  // before anything is touched: what kills our whole group does not kill it
  line_ = std::move(pair.ours);
}

Successor::~Successor() {
  ::send(line_.get(), "c", 1, MSG_NOSIGNAL);  // it may have been killed
  line_.reset();
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace mcr::sys
