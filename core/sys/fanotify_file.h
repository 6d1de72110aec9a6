// fanotify(7). Throws Error unless said otherwise. Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::sys {

inline constexpr uint64_t kMarkIgnore = 0x400;          // FAN_MARK_IGNORE, 6.0
inline constexpr uint64_t kMarkMountNamespace = 0x110;  // FAN_MARK_MNTNS, 6.14

// `flags`, `event_flags` as of fanotify_init(2). `unprivileged`: as if made by somebody without CAP_SYS_ADMIN, which
// stays a property of the group.
UniqueFd make_fanotify(uint32_t flags, uint32_t event_flags, bool unprivileged);
// What is marked is what `path` leads to; it follows links. FAN_MARK_ADD is added to the flags.
void mark(int fanotify, uint32_t flags, uint64_t mask, const std::string& path);

}  // namespace mcr::sys
