// The look before the freeze: everything that stands in the way of a dump is found by reading /proc, with the program
// running on undisturbed. The same questions are asked again once it stands still, for what has changed meanwhile.
#pragma once

#include <set>

#include "core/base/obstacles.h"
#include "core/engine/caller.h"
#include "core/engine/gpu_dump.h"
#include "core/engine/memory_sharers.h"
#include "core/engine/options.h"
#include "core/engine/shared_tables.h"
#include "core/engine/thread_files.h"
#include "core/kinds/open_files.h"
#include "core/trace/frozen_tree.h"
#include "core/tree/creation_plan.h"

namespace mcr::engine {

// Throws Error (refused) naming object, reason and remedy: the first, or a ProblemList of all. Returns the processes
// that were looked at. A tree that changes meanwhile is looked at again, for some seconds at most.
// Whoever wants all obstacles has time: all threads, descriptors and flags of mappings are looked at then, which a dump
// does when it has frozen the tree.
std::set<HostPid> look_at_tree(const DumpOptions& options, const Caller& caller, const kinds::DumpPolicy& policy,
                               kinds::Outsiders& outsiders, MemorySharers& sharers, GpuUsers& gpu_users,
                               Obstacles& obstacles);

// Once everything stands still, of what may have changed; and of what cannot be seen before. `known`: what
// look_at_tree() returned; others were born since. Returns what they share.
SharedTables look_at_frozen(const trace::FrozenTree& tree, const DumpOptions& options, const kinds::OpenFiles& files,
                            const std::set<HostPid>& known);

// By the numbers that it has itself: in a pid namespace that `restore` has made they are others than here. nullopt when
// it is gone.
std::optional<tree::Member> member_of(HostPid pid);
void refuse_core_cookie(HostTid tid);
// The same of one thread; also asked of every thread once it stands still. `view`: a thread of the process that lives.
void refuse_thread(HostPid view, const ThreadFiles& thread);

// By the text of /proc/PID/status; also asked once the process stands still.
void refuse_tagged_addresses(std::string_view status_file);

// What only a thread that stands still can be asked.
void refuse_frozen_thread(const trace::Tracee& thread, HostPid view);

}  // namespace mcr::engine
