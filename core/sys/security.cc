#include "core/sys/security.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "core/base/unique_fd.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

constexpr uint32_t kVersion = 1;  // LANDLOCK_CREATE_RULESET_VERSION

constexpr int kGetMdwe = 66;  // PR_GET_MDWE, 6.3

bool write_oom_score(const std::string& text) {
  const UniqueFd fd(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  return fd.valid() && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// By raw calls: the C library would tell all threads of the engine to change their ids.
[[noreturn]] void stand_by(uint32_t uid, uint32_t gid, int tell, pid_t parent) {
  struct {
    uint32_t version;
    int pid;
  } header{_LINUX_CAPABILITY_VERSION_3, 0};
  const uint32_t none[6]{};
  // It keeps nothing open, least of all the lock of an image folder, for the moment by which it may outlive us.
  if (dup2(tell, 0) != 0) _exit(1);
  const bool is_so = syscall(SYS_close_range, 1, ~0u, 0) == 0 && syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                     getppid() == parent && syscall(SYS_setresgid, gid, gid, gid) == 0 &&
                     syscall(SYS_setresuid, uid, uid, uid) == 0 && syscall(SYS_capset, &header, none) == 0 &&
                     prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 && syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                     getppid() == parent;
  const char answer = is_so ? 1 : 0;
  if (write(0, &answer, 1) != 1) _exit(1);
  close(0);
  for (;;) pause();
}

}  // namespace

bool has_landlock() {
  return syscall(SYS_landlock_create_ruleset, nullptr, 0, kVersion) > 0;
}

std::optional<int32_t> session_keyring() {
  const long serial = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
  return serial < 0 ? std::nullopt : std::optional(static_cast<int32_t>(serial));
}

std::string security_label(const std::string& proc_pid) {
  std::string all;
  for (const char* file : {"/attr/current", "/attr/apparmor/current", "/attr/smack/current"}) {
    auto text = try_read_text(proc_pid + file);
    if (!text) continue;
    while (!text->empty() && (text->back() == '\n' || text->back() == '\0')) text->pop_back();
    if (!text->empty()) all += (all.empty() ? "" : "\n") + *text;
  }
  return all;
}

bool may_adjust_oom_score(int value) {
  const auto own = try_read_text("/proc/self/oom_score_adj");
  if (!own) return false;
  const bool may = write_oom_score(std::to_string(value));
  if (may) write_oom_score(*own);
  return may;
}

bool denies_executable_memory() {
  return prctl(kGetMdwe, 0, 0, 0, 0) > 0;
}

Bystander::Bystander(uint32_t uid, uint32_t gid) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return;
  const UniqueFd hear(ends[0]);
  UniqueFd tell(ends[1]);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) stand_by(uid, gid, tell.get(), parent);
  tell.reset();
  char answer = 0;
  ssize_t got = 0;
  while (pid_ > 0 && (got = read(hear.get(), &answer, 1)) < 0 && errno == EINTR) {
  }
  ready_ = pid_ > 0 && got == 1 && answer == 1;
}

Bystander::~Bystander() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace mcr::sys
