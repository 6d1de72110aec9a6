// Restore: what a restore that was killed has left in a folder, and how it is told from what another one is using
// (temporary_names.h).
#pragma once

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/unique_fd.h"

namespace mcr::kinds {

inline constexpr const char* kGhostMark = "user.mini-criu.deleted-file";
inline constexpr const char* kNodeMark = "trusted.mini-criu.deleted-file";  // only files and folders have user ones
inline constexpr std::string_view kWorkshopPrefix = ".mini-criu-workshop.";
inline constexpr std::string_view kUnfinished = ".mini-criu-unfinished";  // inside a workshop
inline constexpr std::string_view kOtherName = ".mini-criu-";             // pid and number follow

inline const char* mark_for(mode_t mode) {
  return S_ISREG(mode) || S_ISDIR(mode) ? kGhostMark : kNodeMark;
}

// The folder of that name in `folder`, made when it is missing, and locked. nullopt: somebody else has it. Not locked
// where the file system has no locks for folders (NFS); then only a new one is taken. What a killed restore has left in
// it is gone.
std::optional<UniqueFd> take_workshop(int folder, const std::string& name, bool& is_locked);
void discard_workshop(int folder, const std::string& name, int workshop);  // no error when it stays

enum class Stray { gone, in_use, not_ours };
// gone: nothing has that name now. `held`: the workshop there that is the caller's; what it marks, the caller has not
// made.
Stray remove_stray(int folder, const std::string& name, const std::string& held = {});
// All names that begin so, but for those that are the caller's.
void remove_strays_beside(int folder, const std::string& prefix, const std::string& held,
                          const std::function<bool(const std::string&)>& is_own);

}  // namespace mcr::kinds
