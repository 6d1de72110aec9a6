// The threads of a new process: created by its leader through clone3 with their old tids; each does what only it can do
// for itself and then sleeps inside the parasite until it gets its registers.
#pragma once

#include "core/facets/facet.h"
#include "core/inject/new_process.h"
#include "core/tree/process_image.h"

namespace mcr::engine {

inline constexpr size_t kBytesPerThread = 2048;  // of batch area: its calls, their buffers, clone_args

struct ThreadWork {
  facets::ThreadPlan plan;
  RemoteAddr calls;  // where its own calls lie
  size_t count = 0;
  bool last_is_later = false;  // plan.last is made only when its seccomp filters are in place
};

std::vector<ThreadWork> plan_threads(const tree::ProcessImage& image, const procfs::Status& own, inject::Batch& batch,
                                     facets::TimerSignals& timers);
// Adds the clone3 calls of all but the leader.
void add_thread_creation(inject::Batch& batch, std::vector<ThreadWork>& threads, pid_t pid);
// Waits until every thread has done its calls; throws at the first that failed.
void wait_for_threads(inject::Channel& channel, inject::Batch& batch, const std::vector<ThreadWork>& threads);

// Gives threads that slept in a restartable call (nanosleep, poll, futex with a time-out) a restart block of their own:
// the call is made again with what was left of its time and interrupted at once.
// `gadget`: a system call instruction; `buffer`: 16 bytes of the new process that nobody needs. Changes the result
// register in `frames` (one a thread) where the call ended at once.
void prime_restarts(inject::NewProcess& process, const tree::ProcessImage& image, RemoteAddr gadget, RemoteAddr buffer,
                    std::vector<sys::Registers>& frames);

}  // namespace mcr::engine
