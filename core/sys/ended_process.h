// What is left of a process that has ended and was waited for: a pidfd of it. Throws Error unless said otherwise.
#pragma once

#include <optional>

#include "core/base/unique_fd.h"

namespace mcr::sys {

// Its status as wait(2) gives it (PIDFD_GET_INFO, PIDFD_INFO_EXIT, 6.15); nullopt: the kernel does not say.
std::optional<int> exit_status_of(int pidfd);
// A pidfd of a child of ours that was made to end so, and was waited for. Without a core file whatever the status says.
UniqueFd make_ended_pidfd(int status, unsigned flags);  // PIDFD_*

}  // namespace mcr::sys
