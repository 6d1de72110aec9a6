// The look before the freeze: everything that stands in the way of a dump is found by reading /proc, with the program
// running on undisturbed. The same questions are asked again once it stands still, for what has changed meanwhile.
#pragma once

#include "core/engine/caller.h"
#include "core/engine/memory_sharers.h"
#include "core/engine/options.h"
#include "core/engine/shared_tables.h"
#include "core/engine/thread_files.h"
#include "core/kinds/open_files.h"
#include "core/trace/frozen_tree.h"
#include "core/tree/creation_plan.h"

namespace mcr::engine {

// Throws Error (refused) naming object, reason and remedy.
void look_at_tree(const DumpOptions& options, const Caller& caller, kinds::OpenFiles files, MemorySharers& sharers);

// Once everything stands still, of what may have changed; and of what cannot be seen before. What they share.
SharedTables look_at_frozen(const trace::FrozenTree& tree, const DumpOptions& options, const kinds::OpenFiles& files);

// By the numbers that it has itself: in a pid namespace that `restore` has made they are others than here. nullopt when
// it is gone.
std::optional<tree::Member> member_of(HostPid pid);
// The same of one thread; also asked of every thread once it stands still. `view`: a thread of the process that lives.
void refuse_thread(HostPid view, const ThreadFiles& thread);

// What only a thread that stands still can be asked.
void refuse_frozen_thread(const trace::Tracee& thread, HostPid view);

}  // namespace mcr::engine
