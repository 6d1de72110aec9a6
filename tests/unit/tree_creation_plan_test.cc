#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/base/error.h"
#include "core/tree/creation_plan.h"

namespace mcr::tree {
namespace {

using What = CreationStep::What;

// Plays a plan as the kernel would, and says what every process has become.
class Kernel {
 public:
  void play(const CreationPlan& plan) {
    for (const CreationStep& step : plan.steps) {
      SCOPED_TRACE(describe(step));
      execute(step);
    }
  }
  const std::map<pid_t, Member>& processes() const { return processes_; }

 private:
  void execute(const CreationStep& s) {
    switch (s.what) {
      case What::create:
      case What::create_helper:
        return create(s);
      case What::new_session:
        ASSERT_NE(processes_.at(s.actor).group, s.actor) << "setsid of a group leader";
        processes_.at(s.actor).session = processes_.at(s.actor).group = s.actor;
        return;
      case What::join_group:
        return join(processes_.at(s.actor), s.pid == 0 ? 1 : s.pid);
      case What::adopt:
        adopters_.insert(s.actor);
        return;
      case What::stop_adopting:
        adopters_.erase(s.actor);
        return;
      case What::unshare:
        for (const Shared what : kShared) {
          if (!(s.shared & bit(what))) continue;
          ASSERT_TRUE(what == Shared::files || what == Shared::directories) << "cannot be left";
          objects_[s.actor][index_of(what)] = ++last_object_;
        }
        return;
      case What::end_helper:
        return end(s.pid, s.actor);
    }
  }

  static size_t index_of(Shared what) { return static_cast<size_t>(what); }

 public:
  int object(pid_t pid, Shared what) const { return objects_.at(pid)[index_of(what)]; }

 private:
  void share(const CreationStep& s) {
    const bool is_possible = !(s.shared & bit(Shared::handlers)) || (s.shared & bit(Shared::memory));
    ASSERT_TRUE(is_possible) << "CLONE_SIGHAND without CLONE_VM";
    for (const Shared what : kShared)
      objects_[s.pid][index_of(what)] = s.shared & bit(what) ? objects_.at(s.actor)[index_of(what)] : ++last_object_;
  }

  void create(const CreationStep& s) {
    ASSERT_FALSE(processes_.contains(s.pid));
    Member m{s.pid, 0, 1, 1};
    if (s.actor != 0) {
      m = processes_.at(s.actor);
      m.parent = s.sibling ? m.parent : s.actor;
      m.pid = s.pid;
    }
    processes_[s.pid] = m;
    share(s);
  }

  void join(Member& m, pid_t group) {
    ASSERT_NE(m.session, m.pid) << "setpgid of a session leader";
    bool exists = group == m.pid || group == 1;
    for (const auto& [pid, other] : processes_) exists |= other.group == group && other.session == m.session;
    ASSERT_TRUE(exists) << "no group " << group << " in session " << m.session;
    m.group = group;
  }

  void end(pid_t pid, pid_t collector) {
    ASSERT_EQ(processes_.at(pid).parent, collector);
    for (auto& [child, m] : processes_) {
      if (m.parent != pid) continue;
      pid_t heir = collector;
      while (heir != 0 && !adopters_.contains(heir)) heir = processes_.at(heir).parent;
      m.parent = heir;
    }
    processes_.erase(pid);
  }

  std::map<pid_t, Member> processes_;
  std::set<pid_t> adopters_;
  std::map<pid_t, std::array<int, kShared.size()>> objects_;
  int last_object_ = 0;
};

void expect_rebuilt(const std::vector<Member>& members, bool inherits_session = false) {
  Kernel kernel;
  kernel.play(plan_creation(members, inherits_session));
  ASSERT_EQ(kernel.processes().size(), members.size());
  for (const Member& wanted : members) {
    SCOPED_TRACE(wanted.pid);
    const Member& made = kernel.processes().at(wanted.pid);
    if (wanted.pid != members.front().pid) {
      EXPECT_EQ(made.parent, wanted.parent);
    }
    const auto ours = [&](pid_t id, pid_t roots) { return inherits_session && id == roots ? 1 : id; };
    EXPECT_EQ(made.session, ours(wanted.session, members.front().session));
    EXPECT_EQ(made.group, ours(wanted.group, members.front().group));
  }
  for (const Member& a : members)
    for (const Member& b : members)
      for (const Shared what : kShared) {
        if (a.pid >= b.pid) continue;
        const pid_t group = a.shared_with[static_cast<size_t>(what)];
        EXPECT_EQ(kernel.object(a.pid, what) == kernel.object(b.pid, what),
                  group != 0 && group == b.shared_with[static_cast<size_t>(what)])
            << a.pid << " and " << b.pid << ": " << name_of(what);
      }
}

TEST(CreationPlan, OneProcess) {
  expect_rebuilt({{10, 1, 10, 10}});
}

TEST(CreationPlan, ShellAndPipeline) {
  expect_rebuilt({{10, 1, 10, 10}, {11, 10, 11, 10}, {12, 10, 11, 10}, {13, 10, 11, 10}, {14, 10, 10, 10}});
}

TEST(CreationPlan, JobOfAForeignShell) {
  expect_rebuilt({{20, 5, 20, 5}, {21, 20, 20, 5}, {22, 20, 22, 5}, {23, 22, 23, 23}}, true);
}

TEST(CreationPlan, ChildOlderThanItsParentsSession) {
  expect_rebuilt({{10, 1, 10, 10}, {11, 10, 11, 11}, {12, 11, 10, 10}});
  expect_rebuilt({{10, 1, 10, 10}, {11, 10, 11, 11}, {12, 11, 12, 12}, {13, 12, 10, 10}});
}

TEST(CreationPlan, OrphansOfAnEndedSessionLeader) {
  expect_rebuilt({{10, 1, 10, 10}, {12, 10, 11, 11}, {13, 10, 11, 11}, {14, 12, 14, 11}});
}

TEST(CreationPlan, GroupWithoutItsLeader) {
  expect_rebuilt({{10, 1, 10, 10}, {12, 10, 11, 10}, {13, 10, 11, 10}, {14, 12, 11, 10}});
}

TEST(CreationPlan, DaemonOfASessionFurtherDown) {
  expect_rebuilt({{10, 1, 10, 10}, {11, 10, 10, 10}, {12, 11, 12, 12}, {13, 10, 12, 12}, {14, 13, 14, 12}});
}

TEST(CreationPlan, EndedSessionWithMembersOnTwoLevels) {
  expect_rebuilt({{10, 1, 10, 10}, {11, 10, 9, 9}, {12, 11, 12, 12}, {13, 12, 9, 9}});
}

// By kind: memory, handlers, files, directories.
TEST(CreationPlan, SharedByParentAndChild) {
  expect_rebuilt({{10, 1, 10, 10, {10, 10, 10, 10}}, {11, 10, 10, 10, {10, 10, 10, 10}}, {12, 11, 10, 10}});
  expect_rebuilt({{10, 1, 10, 10, {10, 0, 0, 10}}, {11, 10, 10, 10, {10, 0, 0, 0}}, {12, 10, 10, 10, {0, 0, 0, 10}}});
}

TEST(CreationPlan, SharedPastOneThatHasLeft) {
  expect_rebuilt({{10, 1, 10, 10, {0, 0, 10, 10}},
                  {11, 10, 10, 10},
                  {12, 11, 10, 10},
                  {13, 12, 10, 10, {0, 0, 10, 0}},
                  {14, 12, 10, 10, {0, 0, 0, 10}}});
  // The one between shares another with its children, who come later.
  expect_rebuilt({{10, 1, 10, 10, {0, 0, 10, 0}},
                  {11, 10, 10, 10, {0, 0, 11, 0}},
                  {12, 11, 10, 10, {0, 0, 10, 0}},
                  {13, 11, 10, 10, {0, 0, 11, 0}}});
}

TEST(CreationPlan, SharedBySiblings) {
  for (size_t what = 0; what < kShared.size(); ++what) {
    if (kShared[what] == Shared::handlers) continue;
    std::vector<Member> members{{10, 1, 10, 10}, {11, 10, 10, 10}, {12, 10, 12, 10}, {13, 10, 10, 10}};
    members[1].shared_with[what] = members[2].shared_with[what] = members[3].shared_with[what] = 11;
    expect_rebuilt(members);
    members[2].exit_signal = 0;  // CLONE_PARENT gives the elder's
    EXPECT_THROW(plan_creation(members, false), Error);
  }
  expect_rebuilt({{10, 1, 10, 10, {0, 0, 10, 0}},
                  {11, 10, 10, 10, {11, 11, 10, 0}},
                  {12, 10, 10, 10, {11, 11, 10, 0}},
                  {13, 10, 10, 10, {0, 0, 10, 0}}});
}

TEST(CreationPlan, SharedBySessions) {
  expect_rebuilt({{10, 1, 10, 10, {10, 0, 10, 0}}, {11, 10, 11, 11, {10, 0, 0, 0}}, {12, 11, 12, 12, {10, 0, 10, 0}}});
  expect_rebuilt({{10, 1, 10, 10, {0, 0, 10, 0}}, {12, 10, 11, 11, {0, 0, 10, 0}}, {13, 10, 11, 11, {0, 0, 10, 0}}});
}

TEST(CreationPlan, RefusesSharingThatCannotBeMade) {
  const auto refuse = [](const std::vector<Member>& members, const std::string& part) {
    try {
      plan_creation(members, false);
      ADD_FAILURE() << "not refused: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::refused);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  // Memory does not pass through one that has another.
  refuse({{10, 1, 10, 10, {10, 0, 0, 0}}, {11, 10, 10, 10}, {12, 11, 10, 10, {10, 0, 0, 0}}},
         "processes 10 and 12 share memory");
  refuse({{10, 1, 10, 10}, {11, 10, 10, 10}, {12, 11, 10, 10, {0, 0, 12, 0}}, {13, 10, 10, 10, {0, 0, 12, 0}}},
         "share descriptors");
  // Two tables through one process that is born with one only.
  refuse({{10, 1, 10, 10, {0, 0, 10, 0}},
          {11, 10, 10, 10, {0, 0, 11, 0}},
          {12, 11, 10, 10},
          {13, 12, 10, 10, {0, 0, 10, 0}},
          {14, 12, 10, 10, {0, 0, 11, 0}}},
         "between them shares with others");
}

TEST(CreationPlan, RefusesWhatCannotBe) {
  EXPECT_THROW(plan_creation({}, false), Error);
  EXPECT_THROW(plan_creation(std::vector<Member>{{10, 1, 10, 5}}, false), Error);                     // foreign session
  EXPECT_THROW(plan_creation(std::vector<Member>{{10, 1, 10, 10}, {12, 11, 12, 10}}, false), Error);  // no parent
  EXPECT_THROW(plan_creation(std::vector<Member>{{10, 1, 10, 10}, {10, 10, 10, 10}}, false), Error);  // twice
  EXPECT_THROW(plan_creation(std::vector<Member>{{10, 1, 10, 10}, {11, 10, 12, 11}}, false), Error);  // leader's group
  EXPECT_THROW(plan_creation(std::vector<Member>{{10, 1, 10, 10}, {11, 10, -4, 10}}, false), Error);  // negative
  EXPECT_THROW(plan_creation(std::vector<Member>{{10, 1, 10, 10}, {11, 11, 11, 10}}, false), Error);  // own parent
  EXPECT_THROW(
      plan_creation(std::vector<Member>{{10, 1, 10, 10}, {11, 10, 11, 11}, {12, 10, 12, 12}, {13, 11, 12, 12}}, false),
      Error);  // in the session of a cousin
}

}  // namespace
}  // namespace mcr::tree
