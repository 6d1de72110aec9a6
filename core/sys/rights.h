// The rights of this process (capabilities(7), credentials(7)). Throws Error unless said otherwise.
#pragma once

#include <cstdint>
#include <string>

namespace mcr::sys {

// The program file itself gave rights that the caller does not have: set-user-id, set-group-id or file capabilities
// (AT_SECURE of getauxval(3)). Capabilities of the caller's own (root, ambient ones) do not count.
bool is_elevated();

// First of all, before any file is opened: of what the program file gave, everything but CAP_CHECKPOINT_RESTORE is
// given up for good. That right opens no file and reaches no process that the caller could not. Throws Error (refused)
// for set-user-id and set-group-id.
void give_up_file_rights();

// All capabilities that are permitted are effective while it lives: after setresuid(2) to another user, say. This
// thread.
class EffectiveRights {
 public:
  EffectiveRights();
  ~EffectiveRights();
  EffectiveRights(const EffectiveRights&) = delete;
  EffectiveRights& operator=(const EffectiveRights&) = delete;

 private:
  uint32_t before_[6]{};  // two of __user_cap_data_struct
};

uint32_t own_securebits();
// Whether open(2) with these flags would be allowed (faccessat(2) with the effective ids); a file that is not there
// may.
bool may_open(const std::string& path, int flags);
bool may_open(int place, int flags);  // what was opened with O_PATH

std::string capability_name(int number);  // "CAP_SYS_PTRACE"
std::string capability_names(uint64_t mask);

}  // namespace mcr::sys
