#include "core/sys/service_trio.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

#include "core/base/unique_fd.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::sys {
namespace {

constexpr useconds_t kPause = 20'000;  // µs before what has failed is tried again
constexpr useconds_t kBreath = 500;    // µs that one has to make the other anew
constexpr int kGlance = 200;           // ms until it is looked at whom there is to watch

// Memory is copied, descriptors are shared. 0: the child. `pidfd` lies in memory that both share: the kernel writes it
// before the child runs.
pid_t split(int& pidfd) {
  if (pidfd > 0) ::close(pidfd);
  pidfd = -1;
  return static_cast<pid_t>(::syscall(SYS_clone, CLONE_FILES | CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0));
}

bool has_ended(int pidfd) {
  pollfd end{pidfd, POLLIN, 0};
  return pidfd <= 0 || (::poll(&end, 1, 0) == 1 && end.revents != 0);
}

struct Service {
  TrioState& state;
  const char* name;
  const Serve& serve;
  std::vector<int> keep;
};

void be_called(const Service& service, const char* which) {
  ::prctl(PR_SET_NAME, (std::string(service.name) + which).c_str(), 0, 0, 0);
}

[[noreturn]] void stand_by(const Service& service);

[[noreturn]] void work(const Service& service) {
  be_called(service, "");
  Partner partner(service.state, service.keep, [&service] {
    if (split(service.state.standby) == 0) stand_by(service);
  });
  try {
    service.serve(partner);
    service.state.is_done = 1;
  } catch (...) {
    ::usleep(kPause);
    ::_exit(1);  // another one tries
  }
  ::_exit(0);
}

// One that is dead makes nobody: when both are, nothing changes any more.
[[noreturn]] void guard(const Service& service) {
  be_called(service, "3");
  TrioState& state = service.state;
  for (;;) {
    pollfd ends[] = {{state.standby, POLLIN, 0}, {state.worker, POLLIN, 0}};
    ::poll(ends, 2, kGlance);
    const int worker = state.worker, standby = state.standby;
    if (!has_ended(worker) || !has_ended(standby) || worker != state.worker || standby != state.standby) {
      ::usleep(kBreath);
      continue;
    }
    if (state.is_done) ::_exit(0);
    std::swap(state.standby, state.guard);  // it names us
    stand_by(service);
  }
}

[[noreturn]] void stand_by(const Service& service) {
  be_called(service, "2");
  TrioState& state = service.state;
  for (;;) {
    if (has_ended(state.guard) && split(state.guard) == 0) guard(service);
    if (has_ended(state.worker)) {
      if (state.is_done) ::_exit(0);
      ++state.restarts;
      const pid_t pid = split(state.worker);
      if (pid == 0) work(service);
      if (pid < 0) ::usleep(kPause);
      continue;
    }
    pollfd ends[] = {{state.worker, POLLIN, 0}, {state.guard, POLLIN, 0}};
    ::poll(ends, 2, -1);
  }
}

void close_others(std::vector<int> keep) {
  std::erase_if(keep, [](int fd) { return fd < 3; });
  std::ranges::sort(keep);
  unsigned from = 3;
  for (const int fd : keep) {
    const auto number = static_cast<unsigned>(fd);
    if (number > from) ::syscall(SYS_close_range, from, number - 1, 0);
    from = std::max(from, number + 1);
  }
  ::syscall(SYS_close_range, from, ~0U, 0);
}

[[noreturn]] void begin(TrioState& state, const char* name, const std::vector<int>& keep, const Serve& serve) {
  struct sigaction collects_itself {};
  collects_itself.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &collects_itself, nullptr);
  if (const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC); nothing >= 0)
    for (int fd = 0; fd <= 2; ++fd)
      if (std::ranges::find(keep, fd) == keep.end()) ::dup2(nothing, fd);
  close_others(keep);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  state.standby = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
  if (state.standby < 0) ::_exit(1);
  stand_by({state, name, serve, keep});
}

}  // namespace

SharedMemory::SharedMemory(size_t bytes) : bytes_(bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED && errno == ENOMEM) {  // vm.overcommit_memory is 2: a file is charged for what is written only
    const UniqueFd file(static_cast<int>(check(::memfd_create("mini-criu-lazy", MFD_CLOEXEC), "memfd_create")));
    check(::ftruncate(file.get(), static_cast<off_t>(bytes)), "ftruncate of shared memory");
    at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  }
  if (at == MAP_FAILED) throw_code(errno, "mmap of shared memory");
  data_ = static_cast<std::byte*>(at);
}

SharedMemory::~SharedMemory() {
  ::munmap(data_, bytes_);
}

// The others may be making a pidfd in this instant; those are closed by whoever makes another one.
void Partner::close_all_but(std::vector<int> kept) const {
  kept.insert(kept.end(), keep_.begin(), keep_.end());
  for (const std::string& name : list_directory("/proc/self/fd")) {
    const int fd = std::stoi(name);
    const auto link = try_read_link("/proc/self/fd/" + name);
    if (fd > 2 && link && link->find("pidfd") == std::string::npos && std::ranges::find(kept, fd) == kept.end())
      ::close(fd);
  }
}

void start_service_trio(TrioState& state, const char* name, std::vector<int> keep, const Serve& serve) {
  const BlockAllSignals no_signals;  // for good: they end by themselves, or by SIGKILL
  const auto child = static_cast<pid_t>(check(::fork(), "fork"));
  if (child == 0) {
    ::setsid();
    if (::fork() != 0) ::_exit(0);  // nobody of ours has to wait for them
    begin(state, name, keep, serve);
  }
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace mcr::sys
