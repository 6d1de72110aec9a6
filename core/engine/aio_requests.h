// Requests of asynchronous I/O that are in flight. The kernel shows no list and no count of them.
#pragma once

#include "core/base/ids.h"
#include "core/sys/process.h"
#include "images/proto/mm.pb.h"

namespace mcr::engine {

// For a program that has a context of asynchronous I/O: refuses it when it has a descriptor that a request may wait for
// without end (IOCB_CMD_POLL).
void refuse_endless_requests(HostPid pid);
// Waits until what may be in flight has ended: the block devices of its open files have nothing to do for a moment, and
// its ring stands still. The program is frozen: it sends no more. Throws Fault::refused when that takes too long.
void await_requests(HostPid pid, const std::vector<mcr::image::Vma>& vmas, const sys::Deadline& deadline);

}  // namespace mcr::engine
