// Who clones whom, so that every process gets the parent, the session and the process group that it had.
//
// A session is given at birth and left only by setsid(2), which names the new one after the caller. So a process must
// be born by somebody who is in its session at that moment; and where its parent is not, by a helper who is, and who
// makes it a child of that parent: by CLONE_PARENT, or by ending below a subreaper (prctl(2) PR_SET_CHILD_SUBREAPER).
// Sessions and groups whose leader has ended get a helper under the leader's number for as long as it takes to join
// them.
//
// What processes share (memory, handlers, descriptors, directories; clone(2)) comes from who clones them, too: a group
// that shares begins with one process, and the others are cloned by those that have the object at that moment. A table
// of descriptors or the directories may pass through a process that is to have its own: it leaves them by unshare(2)
// when it has handed them on. Memory and handlers cannot be left.
//
// Pure; any thread.
#pragma once

#include <sys/types.h>

#include <array>
#include <span>
#include <string>
#include <vector>

namespace mcr::tree {

enum class Shared { memory, handlers, files, directories };
inline constexpr std::array kShared{Shared::memory, Shared::handlers, Shared::files, Shared::directories};
using SharedSet = unsigned;  // a bit for each
constexpr SharedSet bit(Shared what) {
  return 1u << static_cast<unsigned>(what);
}
const char* name_of(Shared what);

struct Member {
  pid_t pid = 0, parent = 0, group = 0, session = 0;  // as the tree itself sees them; parent of the root: any
  std::array<pid_t, kShared.size()> shared_with{};    // those with the same number share; 0: nobody
  int exit_signal = 17;                               // SIGCHLD
};

struct CreationStep {
  enum class What {
    create,         // actor makes `pid`, a child of its own, or with `sibling` of its parent. Actor 0: the engine
    create_helper,  // the same of a process that is not of the tree; pid 0: any number
    new_session,    // actor calls setsid
    join_group,     // actor calls setpgid(0, pid); pid 0: into the group of the engine
    adopt,          // actor becomes a subreaper
    stop_adopting,
    unshare,    // actor leaves what `shared` says and has copies of its own
    end_helper  // helper `pid` ends; actor, its parent, collects it
  };
  What what = What::create;
  pid_t actor = 0;
  pid_t pid = 0;
  bool sibling = false;
  SharedSet shared = 0;  // of the actor and what it makes
  bool operator==(const CreationStep&) const = default;
};
std::string describe(const CreationStep& step);

struct CreationPlan {
  std::vector<CreationStep> steps;
  std::vector<pid_t> helpers;  // numbers that must be free besides those of the members
};

// `members`: the root first, parents before children. `inherits_session`: session and group of the root are taken to be
// those of the engine (--shell-job). Helpers of any number are named by negative
// pids. Throws Fault::image for what cannot have been, Fault::refused for what cannot be made again.
CreationPlan plan_creation(std::span<const Member> members, bool inherits_session);

}  // namespace mcr::tree
