#include "core/tree/sharing_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/base/error.h"

namespace mcr::tree {
namespace {

using What = CreationStep::What;

bool makes(const CreationStep& step) {
  return step.what == What::create || step.what == What::create_helper;
}

size_t index_of(Shared what) {
  return static_cast<size_t>(what);
}

class Sharer {
 public:
  Sharer(std::span<const Member> members, std::vector<CreationStep>& steps) : steps_(steps) {
    for (const Member& m : members) members_.emplace(m.pid, &m);
    for (const CreationStep& step : steps_)
      if (makes(step)) creator_[step.pid] = step.actor;
  }

  void run() {
    for (const Shared what : kShared) move_to_siblings(what);
    for (const Shared what : kShared) hand_on(what);
  }

 private:
  pid_t group_of(pid_t pid, Shared what) const {
    const auto member = members_.find(pid);
    return member == members_.end() ? 0 : member->second->shared_with[index_of(what)];
  }

  // Whether a process that `pid` makes can have got it from a process of that group, through others where that is
  // possible.
  bool comes_from(pid_t pid, Shared what, pid_t group) const {
    const bool can_pass = what == Shared::files || what == Shared::directories;
    for (; pid != 0; pid = creator_.at(pid)) {
      if (group_of(pid, what) == group) return true;
      if (!can_pass) return false;
    }
    return false;
  }

  // Where no ancestor shares: by the first sibling of the group, with CLONE_PARENT.
  void move_to_siblings(Shared what) {
    std::map<pid_t, pid_t> first;  // by group
    for (size_t i = 0; i < steps_.size(); ++i) {
      CreationStep& step = steps_[i];
      const pid_t group = step.what == What::create ? group_of(step.pid, what) : 0;
      if (group == 0) continue;
      const auto [entry, is_first] = first.try_emplace(group, step.pid);
      if (is_first || comes_from(step.actor, what, group)) continue;
      const std::string why = why_not_beside(entry->second, i);
      if (!why.empty()) refuse(entry->second, step.pid, what, why);
      step.actor = entry->second, step.sibling = true;
      creator_[step.pid] = step.actor;
    }
  }

  // A child made with CLONE_PARENT has the parent, the session and the exit signal (clone(2)) of its maker.
  std::string why_not_beside(pid_t elder, size_t at) const {
    const pid_t pid = steps_[at].pid;
    if (steps_[at].sibling || members_.at(elder)->parent != members_.at(pid)->parent)
      return "neither made the other, nor did one process make both";
    if (members_.at(elder)->exit_signal != members_.at(pid)->exit_signal)
      return "their ends are told by different signals";
    const auto made = std::find_if(steps_.begin(), steps_.end(),
                                   [&](const CreationStep& s) { return s.what == What::create && s.pid == elder; });
    for (auto step = made; step != steps_.begin() + static_cast<std::ptrdiff_t>(at); ++step)
      if (step->what == What::new_session && (step->actor == elder || step->actor == steps_[at].actor))
        return "a session began between their beginnings";
    return {};
  }

  // From each process up to the nearest one that has it already.
  void hand_on(Shared what) {
    std::map<pid_t, pid_t> born_with, owner;  // process to the group whose object it is born with; group to its first
    for (size_t i = 0; i < steps_.size(); ++i) {
      const pid_t group = steps_[i].what == What::create ? group_of(steps_[i].pid, what) : 0;
      if (group == 0 || owner.try_emplace(group, steps_[i].pid).second) continue;
      const pid_t first = owner.at(group);
      for (pid_t pid = steps_[i].pid; pid != first && !(born_with.contains(pid) && born_with.at(pid) == group);) {
        if (!born_with.try_emplace(pid, group).second)
          refuse(first, steps_[i].pid, what, fmt::format("process {} between them shares with others", pid));
        pid = creator_.at(pid);
        if (pid == 0) refuse(first, steps_[i].pid, what, "neither descends from the other");
      }
    }
    mark(what, born_with);
  }

  void mark(Shared what, const std::map<pid_t, pid_t>& born_with) {
    const auto token = [&](pid_t pid) {
      const auto known = born_with.find(pid);
      return known == born_with.end() ? 0 : known->second;
    };
    std::map<pid_t, size_t> last_pass;  // by process that leaves it again: the step after which it can
    for (size_t i = 0; i < steps_.size(); ++i) {
      CreationStep& step = steps_[i];
      if (!makes(step) || token(step.pid) == 0) continue;
      step.shared |= bit(what);
      if (members_.contains(step.pid) && token(step.pid) != group_of(step.pid, what))
        last_pass.try_emplace(step.pid, i);
      if (token(step.pid) == token(step.actor) && last_pass.contains(step.actor)) last_pass[step.actor] = i;
    }
    for (const auto& [pid, at] : last_pass)
      for (size_t i = 0; i < at; ++i)
        if (makes(steps_[i]) && steps_[i].actor == pid && token(steps_[i].pid) != 0 &&
            token(steps_[i].pid) != token(pid))
          refuse(pid, steps_[i].pid, what, "what it hands on to others comes later");
    insert_leaving(what, last_pass);
  }

  void insert_leaving(Shared what, const std::map<pid_t, size_t>& last_pass) {
    std::multimap<size_t, pid_t, std::greater<>> from_behind;
    for (const auto& [pid, at] : last_pass) from_behind.emplace(at, pid);
    for (const auto& [at, pid] : from_behind)
      steps_.insert(steps_.begin() + static_cast<std::ptrdiff_t>(at) + 1, {What::unshare, pid, 0, false, bit(what)});
  }

  [[noreturn]] static void refuse(pid_t a, pid_t b, Shared what, const std::string& why) {
    throw Error(Fault::refused,
                fmt::format("processes {} and {} share {} (clone(2)), and {}", a, b, name_of(what), why),
                "such processes cannot be made again: dump when one of them has ended");
  }

  std::vector<CreationStep>& steps_;
  std::map<pid_t, const Member*> members_;
  std::map<pid_t, pid_t> creator_;
};

}  // namespace

void share(std::span<const Member> members, std::vector<CreationStep>& steps) {
  Sharer(members, steps).run();
}

}  // namespace mcr::tree
