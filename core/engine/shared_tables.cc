#include "core/engine/shared_tables.h"

#include <linux/kcmp.h>

#include <algorithm>

#include "core/sys/process.h"

namespace mcr::engine {
namespace {

constexpr int kLess = 1, kEqual = 0;  // kcmp(2)

int type_of(tree::Shared what) {
  switch (what) {
    case tree::Shared::memory:
      return KCMP_VM;
    case tree::Shared::handlers:
      return KCMP_SIGHAND;
    case tree::Shared::files:
      return KCMP_FILES;
    case tree::Shared::directories:
      return KCMP_FS;
  }
  return KCMP_VM;
}

}  // namespace

// Those that have come so far are kept in the kernel's order, each object once.
SharedTables::SharedTables(const std::vector<HostPid>& views) {
  for (const tree::Shared what : tree::kShared) {
    auto& first = first_[static_cast<size_t>(what)];
    std::vector<HostPid> sorted;
    for (const HostPid view : views) {
      size_t low = 0, high = sorted.size();
      std::optional<HostPid> same;
      while (low < high && !same) {
        const size_t middle = low + (high - low) / 2;
        const int order = sys::compare_objects(sorted[middle].get(), view.get(), type_of(what));
        if (order == kEqual)
          same = sorted[middle];
        else if (order == kLess)
          low = middle + 1;
        else
          high = middle;
      }
      if (!same) {
        sorted.insert(sorted.begin() + static_cast<std::ptrdiff_t>(low), view);
        continue;
      }
      first.emplace(*same, *same);
      first.emplace(view, *same);
    }
  }
}

std::optional<HostPid> SharedTables::first(tree::Shared what, HostPid view) const {
  const auto& first = first_[static_cast<size_t>(what)];
  const auto known = first.find(view);
  if (known == first.end() || known->second == view) return std::nullopt;
  return known->second;
}

std::vector<HostPid> SharedTables::sharers(tree::Shared what, HostPid view) const {
  std::vector<HostPid> all;
  const auto& first = first_[static_cast<size_t>(what)];
  const auto known = first.find(view);
  if (known == first.end()) return all;
  for (const auto& [other, its_first] : first)
    if (its_first == known->second) all.push_back(other);
  return all;
}

std::vector<trace::FrozenProcess*> users_of_memory(const SharedTables& tables, const trace::FrozenTree& tree,
                                                   trace::FrozenProcess& process) {
  const std::vector<HostPid> sharers = tables.sharers(tree::Shared::memory, process.view());
  std::vector<trace::FrozenProcess*> users;
  for (const auto& other : tree.processes())
    if (!other->zombie && std::ranges::find(sharers, other->view()) != sharers.end()) users.push_back(other.get());
  if (users.empty()) users.push_back(&process);
  return users;
}

}  // namespace mcr::engine
