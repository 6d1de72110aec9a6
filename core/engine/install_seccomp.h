// Seccomp filters at the restore. They are the very last that a thread gets: everything else of it is done by system
// calls. What all threads have in common is installed by the leader for all at once (SECCOMP_FILTER_FLAG_TSYNC), so
// that they share it again; the rest by each thread itself.
#pragma once

#include "core/engine/spawn_threads.h"
#include "core/trace/seccomp_filter.h"

namespace mcr::engine {

class SeccompInstallation {
 public:
  explicit SeccompInstallation(const tree::ProcessImage& image);  // throws Fault::image

  bool empty() const;
  size_t bytes() const;  // of batch area that install() needs
  // Without no_new_privs only CAP_SYS_ADMIN may install filters, and this thread will not have it: its filters come
  // before its credentials. They are not asked as long as it is traced.
  bool needs_rights(size_t thread) const { return threads_[thread].needs_rights; }
  // All threads but the leader are stopped, the leader waits in the parasite. `batch`: its buffers are those that the
  // calls of `work` point to. `process_last`: to be made after the leader's own last calls, when those were put off.
  void install(inject::NewProcess& process, inject::Batch& batch, RemoteAddr gadget,
               const std::vector<ThreadWork>& work, const inject::CallList& process_last) const;

 private:
  struct Thread {
    trace::SeccompChain filters;
    bool needs_rights = false, no_new_privs = false, ended = false;
  };
  size_t count_shared() const;

  std::vector<Thread> threads_;
  size_t shared_ = 0;  // so many of the oldest filters are those of all threads
};

}  // namespace mcr::engine
