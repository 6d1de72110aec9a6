// Work that our death must not interrupt: done by a process of its own, in another session.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::sys {

struct Delivery {
  std::string bytes;
  std::vector<UniqueFd> files;
};
using Deliver = std::function<void(std::string_view bytes, std::span<const int> files)>;

// Runs `work` in a forked process, which has all our descriptors, and returns what it delivers. An Error of the work is
// thrown here, and so is its own end before it has said that all is delivered. Should we be killed, the work goes on to
// its next delivery, which then throws. Main thread.
std::vector<Delivery> run_apart(const std::function<void(const Deliver&)>& work);

}  // namespace mcr::sys
