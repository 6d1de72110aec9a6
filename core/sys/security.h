// What the kernel's security parts have to say of a process: key retention (keyctl(2)), Landlock, labels.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace mcr::sys {

// Whether this kernel enforces Landlock (landlock_create_ruleset(2), 5.13).
bool has_landlock();

// Serial number of the session keyring of this process; nullopt without keys. One that has none is given that of its
// user, as by every question about it.
std::optional<int32_t> session_keyring();

// /proc/PID/attr/current and that of each security module that has its own, one a line; empty without any.
std::string security_label(const std::string& proc_pid);

// Whether a process made by us may be given this OOM adjustment: below the lowest one so far only CAP_SYS_RESOURCE may
// go, and that one is shown nowhere. Tried on ourselves, and put back.
bool may_adjust_oom_score(int value);
// Memory-deny-write-execute of this process (PR_GET_MDWE, 6.3), which nobody can take back.
bool denies_executable_memory();

// A process that does nothing, with these ids, without capabilities, dumpable: whoever has the same real ids may look
// into it, unless a security module forbids. Killed and reaped with the object, or with the thread that made it.
class Bystander {
 public:
  Bystander(uint32_t uid, uint32_t gid);
  ~Bystander();
  Bystander(const Bystander&) = delete;
  Bystander& operator=(const Bystander&) = delete;
  pid_t pid() const { return pid_; }
  bool ready() const { return ready_; }  // false: it could not be made so

 private:
  pid_t pid_ = -1;
  bool ready_ = false;
};

}  // namespace mcr::sys
