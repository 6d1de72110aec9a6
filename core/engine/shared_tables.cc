#include "core/engine/shared_tables.h"

#include <linux/kcmp.h>

#include <algorithm>
#include <exception>
#include <set>

#include "core/base/error.h"
#include "core/base/two_threads.h"
#include "core/sys/file.h"
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

SharedTables::SharedTables(const std::vector<HostPid>& views) {
  constexpr size_t kKinds = tree::kShared.size();
  constexpr size_t kMany = 16;
  std::array<std::exception_ptr, kKinds> problems;
  by_two_threads(kKinds, views.size() < kMany ? SIZE_MAX : kKinds, [&](size_t i) {
    try {
      sort(tree::kShared[i], views);
    } catch (const Error&) {
      problems[i] = std::current_exception();
    }
  });
  for (const auto& problem : problems)
    if (problem) std::rethrow_exception(problem);
}

void SharedTables::sort(tree::Shared what, const std::vector<HostPid>& views) {
  auto& first = first_[static_cast<size_t>(what)];
  auto& sorted = sorted_[static_cast<size_t>(what)];
  for (const HostPid view : views) {
    const Place place = look_up(what, view);
    if (!place.found) {
      sorted.insert(sorted.begin() + static_cast<std::ptrdiff_t>(place.index), view);
      continue;
    }
    first.emplace(sorted[place.index], sorted[place.index]);
    first.emplace(view, sorted[place.index]);
  }
}

SharedTables::Place SharedTables::look_up(tree::Shared what, HostPid view) const {
  const auto& sorted = sorted_[static_cast<size_t>(what)];
  size_t low = 0, high = sorted.size();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const int order = sys::compare_objects(sorted[middle].get(), view.get(), type_of(what));
    if (order == kEqual) return {middle, true};
    if (order == kLess)
      low = middle + 1;
    else
      high = middle;
  }
  return {low, false};
}

std::optional<HostPid> SharedTables::find(tree::Shared what, HostPid outsider) const {
  const Place place = look_up(what, outsider);
  if (!place.found) return std::nullopt;
  return sorted_[static_cast<size_t>(what)][place.index];
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

// It goes before the rest (do_exit in kernel/exit.c).
bool has_memory(HostPid pid) {
  return sys::try_read_link(fmt::format("/proc/{}/exe", pid)).has_value();
}

namespace {

// EPERM for what is not ours to look at, ESRCH for what has ended. Where both have memory afterwards, both had all
// else.
std::optional<HostPid> try_find(const SharedTables& tables, tree::Shared what, HostPid outsider) {
  try {
    const auto member = tables.find(what, outsider);
    return member && has_memory(*member) && has_memory(outsider) ? member : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

// One that shares may have come into the tree since that was listed: a child of vfork(2), for a moment.
void refuse_outside_sharers(const SharedTables& tables, HostPid root, const std::vector<HostPid>& tree) {
  const std::set<HostPid> known(tree.begin(), tree.end());
  for (const std::string& name : sys::list_directory("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const HostPid outsider(std::stoi(name));
    if (known.contains(outsider) || outsider == sys::own_pid()) continue;
    for (const tree::Shared what : tree::kShared) {
      const auto member = try_find(tables, what, outsider);
      if (!member) continue;
      const std::vector<HostPid> now = trace::tree_of(root);
      if (std::ranges::find(now, outsider) != now.end() || try_find(tables, what, outsider) != member) break;
      throw Error(Fault::refused,
                  fmt::format("{} shares {} with {}, which is outside of the tree (clone(2))",
                              trace::describe_process(*member), name_of(what), trace::describe_process(outsider)),
                  "dump a tree that holds both, or dump after that process has ended");
    }
  }
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
