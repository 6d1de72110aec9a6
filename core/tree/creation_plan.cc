#include "core/tree/creation_plan.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/base/error.h"
#include "core/tree/sharing_plan.h"

namespace mcr::tree {
namespace {

using What = CreationStep::What;

struct Node {
  Member m;
  Node* parent = nullptr;
  std::vector<Node*> children;
  pid_t birth = 0;          // the session it is born into; 0: whichever
  pid_t group_now = 0;      // the group it has after the steps so far
  bool in_session = false;  // it is there, and in its final session
  bool is_leader = false;   // of a session of its own
  bool leads_session() const { return is_leader; }
};

struct Helper {
  pid_t pid, parent;
};

class Planner {
 public:
  Planner(std::span<const Member> members, bool inherits_session) {
    for (const Member& m : members) add(m);
    Node& root = *order_.front();
    if (inherits_session) {
      foreign_session_ = root.m.session;
      foreign_group_ = root.m.group;
      root.is_leader = false;
    }
    if (foreign_session_ == 0 && !root.leads_session())
      throw Error(Fault::refused, fmt::format("process {} belongs to a session of another process", root.m.pid),
                  "give --shell-job");
  }

  CreationPlan run() {
    choose_birth_sessions();
    Node& root = *order_.front();
    root.group_now = foreign_group_;
    step(What::create, 0, root.m.pid);
    fill(root);
    join_groups();
    for (auto it = to_end_.rbegin(); it != to_end_.rend(); ++it) step(What::end_helper, it->parent, it->pid);
    return std::move(plan_);
  }

 private:
  void add(const Member& m) {
    if (m.pid <= 0 || m.session <= 0 || m.group <= 0)
      throw Error(Fault::image, fmt::format("process {} has an impossible session or group", m.pid));
    auto [entry, is_new] = nodes_.try_emplace(m.pid);
    if (!is_new) throw Error(Fault::image, fmt::format("process {} is there twice", m.pid));
    Node& node = entry->second;
    node.m = m;
    node.is_leader = m.session == m.pid;
    if (!order_.empty()) {
      const auto parent = nodes_.find(m.parent);
      if (parent == nodes_.end() || m.parent == m.pid)
        throw Error(Fault::image, fmt::format("process {} comes before its parent {}", m.pid, m.parent));
      node.parent = &parent->second;
      node.parent->children.push_back(&node);
    }
    order_.push_back(&node);
  }

  void step(What what, pid_t actor, pid_t pid = 0, bool sibling = false) {
    plan_.steps.push_back({what, actor, pid, sibling, 0});
  }

  // Children first: a leader with a child of an older session was born into that session itself, if it can have been.
  void choose_birth_sessions() {
    for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
      Node& node = **it;
      if (!node.leads_session()) node.birth = node.m.session;
      if (node.parent && node.parent->leads_session() && node.birth != 0 && node.birth != node.parent->m.session)
        bear_into(*node.parent, node.birth);
    }
  }

  bool bear_into(Node& leader, pid_t session) {
    if (leader.birth != 0) return leader.birth == session;
    const bool possible = !leader.parent ? session == foreign_session_
                                         : leader.parent->m.session == session ||
                                               (leader.parent->leads_session() && bear_into(*leader.parent, session));
    if (possible) leader.birth = session;
    return possible;
  }

  // Everything below a process that is just there, still in the session of its birth.
  void fill(Node& node) {
    std::vector<Node*> later, strangers;
    for (Node* child : node.children) {
      if (child->birth == 0 || child->birth == node.m.session)
        later.push_back(child);
      else if (node.leads_session() && child->birth == node.birth)
        create(node, *child);
      else
        strangers.push_back(child);
    }
    if (node.leads_session()) {
      step(What::new_session, node.m.pid);
      node.group_now = node.m.pid;
    }
    node.in_session = true;
    for (Node* child : later) create(node, *child);
    for (Node* child : node.children)
      if (std::find(strangers.begin(), strangers.end(), child) == strangers.end()) fill(*child);
    for (Node* child : strangers) {
      create_stranger(node, *child);
      fill(*child);
    }
  }

  void create(const Node& creator, Node& child) {
    child.group_now = creator.group_now;
    step(What::create, creator.m.pid, child.m.pid);
  }

  // Its session lives below its parent, which is not in it.
  void create_stranger(Node& parent, Node& child) {
    const pid_t session = child.birth;
    if (const Node* member = find_member_below(parent, session)) {
      const pid_t helper = --anonymous_;
      step(What::create_helper, member->m.pid, helper);
      step(What::adopt, parent.m.pid);
      step(What::create, helper, child.m.pid);
      step(What::end_helper, member->m.pid, helper);
      step(What::stop_adopting, parent.m.pid);
      child.group_now = member->group_now;
      return;
    }
    if (nodes_.contains(session))
      throw Error(Fault::refused, fmt::format("process {} is in session {}, of which its parent {} has never been",
                                              child.m.pid, session, parent.m.pid));
    step(What::create, stand_in_for_leader(parent, session), child.m.pid, true);
    child.group_now = session;
  }

  const Node* find_member_below(const Node& top, pid_t session) const {
    for (const Node* child : top.children) {
      if (child->in_session && child->m.session == session) return child;
      if (const Node* found = find_member_below(*child, session)) return found;
    }
    return nullptr;
  }

  pid_t stand_in_for_leader(const Node& parent, pid_t session) {
    const auto found = std::find_if(to_end_.begin(), to_end_.end(), [&](const Helper& h) { return h.pid == session; });
    if (found != to_end_.end()) {
      if (found->parent == parent.m.pid) return session;
      throw Error(Fault::refused,
                  fmt::format("session {} has members below {} and below {}", session, found->parent, parent.m.pid));
    }
    step(What::create_helper, parent.m.pid, session);
    step(What::new_session, session);
    add_helper({session, parent.m.pid});
    return session;
  }

  void add_helper(Helper helper) {
    plan_.helpers.push_back(helper.pid);
    to_end_.push_back(helper);
  }

  void join_groups() {
    for (Node* node : order_)
      if (node->m.group == node->m.pid && node->group_now != node->m.pid && node->m.group != foreign_group_)
        join(*node, node->m.pid);
    std::set<pid_t> made;
    for (Node* node : order_) {
      const pid_t group = node->m.group;
      if (node->group_now == group) continue;
      if (node->leads_session())
        throw Error(Fault::image, fmt::format("the leader of session {} is in group {}", node->m.pid, group));
      if (group == foreign_group_) {
        step(What::join_group, node->m.pid, 0);
        continue;
      }
      const auto leader = nodes_.find(group);
      if (leader != nodes_.end() && leader->second.m.session != node->m.session)
        throw Error(Fault::image, fmt::format("process {} is in a group of another session", node->m.pid));
      if (leader == nodes_.end() && !is_helper(group) && made.insert(group).second) {
        step(What::create_helper, node->m.pid, group);
        step(What::join_group, group, group);
        add_helper({group, node->m.pid});
      }
      join(*node, group);
    }
  }

  bool is_helper(pid_t pid) const {
    return std::any_of(to_end_.begin(), to_end_.end(), [&](const Helper& h) { return h.pid == pid; });
  }

  void join(Node& node, pid_t group) {
    step(What::join_group, node.m.pid, group);
    node.group_now = group;
  }

  std::map<pid_t, Node> nodes_;
  std::vector<Node*> order_;
  pid_t foreign_session_ = 0, foreign_group_ = 0;
  int anonymous_ = 0;
  std::vector<Helper> to_end_;
  CreationPlan plan_;
};

}  // namespace

CreationPlan plan_creation(std::span<const Member> members, bool inherits_session) {
  if (members.empty()) throw Error(Fault::image, "the image holds no process");
  CreationPlan plan = Planner(members, inherits_session).run();
  share(members, plan.steps);
  return plan;
}

const char* name_of(Shared what) {
  switch (what) {
    case Shared::memory:
      return "memory";
    case Shared::handlers:
      return "signal handlers";
    case Shared::files:
      return "descriptors";
    case Shared::directories:
      return "a working directory";
  }
  return "";
}

namespace {

std::string describe_shared(SharedSet set) {
  std::string text;
  for (const Shared what : kShared)
    if (set & bit(what)) text += fmt::format("{} {}", text.empty() ? "" : ",", name_of(what));
  return text;
}

}  // namespace

std::string describe(const CreationStep& s) {
  switch (s.what) {
    case What::create:
      return fmt::format("{} makes {}{}{}{}", s.actor, s.pid, s.sibling ? " beside itself" : "",
                         s.shared ? ", sharing" : "", describe_shared(s.shared));
    case What::create_helper:
      return fmt::format("{} makes helper {}{}{}", s.actor, s.pid, s.shared ? ", sharing" : "",
                         describe_shared(s.shared));
    case What::new_session:
      return fmt::format("{} begins a session", s.actor);
    case What::join_group:
      return fmt::format("{} joins group {}", s.actor, s.pid);
    case What::adopt:
      return fmt::format("{} adopts", s.actor);
    case What::stop_adopting:
      return fmt::format("{} adopts no more", s.actor);
    case What::unshare:
      return fmt::format("{} shares no more:{}", s.actor, describe_shared(s.shared));
    case What::end_helper:
      return fmt::format("helper {} ends under {}", s.pid, s.actor);
  }
  return {};
}

}  // namespace mcr::tree
