// Which processes of a tree share memory, handlers, descriptors or directories (clone(2), kcmp(2)).
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "core/base/ids.h"
#include "core/trace/frozen_tree.h"
#include "core/tree/creation_plan.h"

namespace mcr::engine {

class SharedTables {
 public:
  SharedTables() = default;
  // `views`: of living processes, parents before children; each a thread that has not ended. Throws when one has ended.
  explicit SharedTables(const std::vector<HostPid>& views);

  // The first that has the same; nullopt: it is the first itself, or has its own.
  std::optional<HostPid> first(tree::Shared what, HostPid view) const;
  bool has_own(tree::Shared what, HostPid view) const { return !first(what, view); }
  // All that share with it, itself among them; empty: nobody does.
  std::vector<HostPid> sharers(tree::Shared what, HostPid view) const;

 private:
  std::array<std::map<HostPid, HostPid>, tree::kShared.size()> first_;  // also of the first itself
};

// Those whose threads run in the memory of `process`, itself among them.
std::vector<trace::FrozenProcess*> users_of_memory(const SharedTables& tables, const trace::FrozenTree& tree,
                                                   trace::FrozenProcess& process);

}  // namespace mcr::engine
