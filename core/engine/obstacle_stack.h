// The stack of the thread that stood in the way of a dump, for the log.
#pragma once

#include <optional>

#include "core/base/error.h"
#include "core/stacks/stopped_tree.h"
#include "core/trace/frozen_tree.h"

namespace mcr::engine {

class ObstacleStack {
 public:
  // While the tree stands still: copies what the steps of the error name. Never throws.
  void copy(const trace::FrozenTree& tree, const Error& error) noexcept;
  // When it runs again, as to find the names takes a while. Never throws.
  void log() noexcept;

 private:
  std::optional<stacks::StoppedProcess> process_;
  HostTid thread_;
};

}  // namespace mcr::engine
