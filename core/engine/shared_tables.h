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
  // One of them that shares with a process that is not among them. Throws where that may not be asked.
  std::optional<HostPid> find(tree::Shared what, HostPid outsider) const;

 private:
  struct Place {
    size_t index = 0;
    bool found = false;
  };
  Place look_up(tree::Shared what, HostPid view) const;
  void sort(tree::Shared what, const std::vector<HostPid>& views);

  std::array<std::vector<HostPid>, tree::kShared.size()> sorted_;       // each object once, in the kernel's order
  std::array<std::map<HostPid, HostPid>, tree::kShared.size()> first_;  // also of the first itself
};

// Not when it is ending, nor a kernel thread. Then kcmp(2) finds what both do not have to be the same.
bool has_memory(HostPid pid);

// Throws when a process outside of the tree shares with one of it. While all run.
void refuse_outside_sharers(const SharedTables& tables, HostPid root, const std::vector<HostPid>& tree);

// Those whose threads run in the memory of `process`, itself among them.
std::vector<trace::FrozenProcess*> users_of_memory(const SharedTables& tables, const trace::FrozenTree& tree,
                                                   trace::FrozenProcess& process);

}  // namespace mcr::engine
