// What the kernel reads and writes in a program's memory by itself: where a thread is preempted (rseq) and where it
// ends (clear_child_tid, robust futexes), when no page can be waited for.
#pragma once

#include <set>
#include <vector>

#include "core/mem/address_space.h"
#include "images/proto/core.pb.h"

namespace mcr::mem {

// The pages of these threads' words. memory.late is known, and the rest of the memory is there.
std::set<uint64_t> pages_of_kernel_words(inject::NewProcess& process, const RestoreMemory& memory,
                                         const std::vector<image::ThreadCore>& threads);

}  // namespace mcr::mem
