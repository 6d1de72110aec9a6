// Contexts of asynchronous I/O (io_setup(2)). A context is known by the address of its ring, a mapping that the kernel
// makes; the kernel follows when the mapping is moved (mremap(2)). Events that were not taken yet lie in the ring.
#pragma once

#include <vector>

#include "core/base/error.h"
#include "core/mem/address_space.h"
#include "core/trace/remote_memory.h"

namespace mcr::mem {

bool is_aio_ring(const procfs::Mapping& mapping);
bool is_aio_ring(const mcr::image::Vma& vma);
// Throws Fault::refused when a part of a ring is missing.
mcr::image::AioContext collect_aio_context(const trace::RemoteMemory& memory, const mcr::image::Vma& ring);
// Asks the kernel in the program's name whether the rings are contexts of this process: a child inherits the mapping,
// but no context.
void require_own_contexts(inject::Channel& channel, const std::vector<mcr::image::AioContext>& contexts);

void check_aio_contexts(const std::vector<mcr::image::AioContext>& contexts, std::vector<Problem>& problems);
// Makes them in the new process, with the events that wait. Everything else is mapped already.
void make_aio_contexts(inject::NewProcess& process, const std::vector<mcr::image::Vma>& vmas,
                       const std::vector<mcr::image::AioContext>& contexts);

}  // namespace mcr::mem
