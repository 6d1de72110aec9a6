// Processes that this one makes of itself, without a program of their own at first, and the adoption of orphans. Every
// function throws Error unless its comment names an expected outcome. Only while this process has one thread.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"
#include "core/sys/supervise.h"

namespace mcr::sys {

// Orphans among our descendants become our children (prctl(2), PR_SET_CHILD_SUBREAPER).
void become_subreaper();

// fork(2). The child has every signal at its default and none blocked, keeps the first three descriptors and those in
// `keep`, and ends with what `work` returns, or with 70 when that throws. Objects that it has copied from us are not
// destroyed there: what they own stays ours.
HostPid start_child(std::span<const int> keep, const std::function<int()>& work);
HostPid start_twin(const std::function<int()>& work);  // the same, with all our descriptors
// By such a child, for one that nobody else would end: it is killed when its parent ends, which is gone already when it
// is another one (prctl(2), PR_SET_PDEATHSIG).
void end_with(HostPid parent);
// As start_child() in a session of its own and as nobody's child: it belongs to process 1, or to the next subreaper.
// Its standard streams are /dev/null, its working directory is the root.
void start_detached(std::span<const int> keep, const std::function<int()>& work);

// By a child of start_child(): a program in a session of its own.
struct ProgramPlace {
  std::vector<std::string> command;
  std::vector<std::string> environment;  // "NAME=value", all of it
  std::string folder;
  int output = -1;    // for standard output and error; standard input is /dev/null
  int terminal = -1;  // or the slave of a pseudo-terminal for all three, which becomes that of the session
};
// Only returns by throwing.
[[noreturn]] void become_session_program(const ProgramPlace& place);

void leave_session();                              // setsid(2)
bool try_kill_group(HostPid leader, int signal);   // false: there is no such group
std::optional<pid_t> try_session_of(HostPid pid);  // nullopt: it is gone

// Of a child of ours that has ended: how. It is gone then. nullopt: it has not ended, or is no child of ours.
std::optional<ChildChange> collect_ended(HostPid pid);
// Waits until one of them is readable, or the milliseconds are over (-1: for ever).
void wait_any_readable(std::span<const int> fds, int milliseconds);

std::vector<std::string> own_environment();
// "USR1" or "SIGUSR1" or "10"; nullopt: no signal that may be blocked and taken.
std::optional<int> signal_by_name(const std::string& name);
std::string signal_name(int number);  // "USR1"

}  // namespace mcr::sys
