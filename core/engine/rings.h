// Rings of io_uring(7): waiting until nothing is in flight, and handing them to new processes.
#pragma once

#include "core/inject/new_process.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/process.h"

namespace mcr::engine {

// Before the freeze: waits until the rings of the process are at rest, and refuses what cannot be saved of them.
void look_at_rings(HostPid pid, const kinds::OpenFiles& files, const sys::Deadline& deadline);
// Frozen: requests go on. Throws Fault::refused when the deadline passes.
void await_rings(HostPid pid, int pidfd, const kinds::OpenFiles& files, const sys::Deadline& deadline);

// Frozen, by the host of the parasite: a thread may have given numbers of its own to rings (IORING_REGISTER_RING_FDS,
// 5.18), which nobody else sees. Throws Fault::refused.
void refuse_registered_rings(inject::Channel& channel, HostPid pid, const kinds::OpenFiles& files);

// Of the ring with this inode that has been entered; 0: none, or more than one (before every ring had its own, 5.12).
uint32_t ring_of(const kinds::OpenFiles& files, ino_t inode);
// Before the freeze: refuses memory of a ring to which no descriptor leads.
void refuse_lost_ring(const kinds::OpenFiles& files, const procfs::Mapping& memory);
[[noreturn]] void throw_lost_ring(const procfs::Mapping& memory);

// Makes the ring if no process has it yet, otherwise takes it; returns its number there. `made`: whether it is new.
int place_ring(inject::NewProcess& process, kinds::OpenedFiles& files, uint32_t id, bool& made);
struct RingMapping {
  uint64_t start = 0, bytes = 0, prot = 0, offset = 0;
  int fd = -1;  // there
};
// Something else keeps their places; nothing else of ours may be mapped there meanwhile.
void map_rings(inject::NewProcess& process, const std::vector<RingMapping>& mappings);
int take_ring(inject::NewProcess& process, int ring);
// By the process that has made it, when its memory is as it was.
void register_buffers(inject::NewProcess& process, const mcr::image::FileObject& object, int fd);

}  // namespace mcr::engine
