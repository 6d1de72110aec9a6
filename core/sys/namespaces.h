// A pid namespace of its own for what is restored, where a process can be given any pid (pid_namespaces(7)): with a
// user namespace of its own, without a right outside (user_namespaces(7)). We stay where we are; as the owner of the
// user namespace we have every capability over it.
#pragma once

#include "core/base/ids.h"
#include "core/base/unique_fd.h"
#include "core/sys/process.h"

namespace mcr::sys {

// Holds process 1 of the pid namespace, a child of ours. It collects orphans and ends with the last process of the
// namespace. Before commit() the end of this object, or of the engine, ends it and with it everything that lives there.
class OwnNamespaces {
 public:
  explicit OwnNamespaces(bool with_user) : with_user_(with_user) {}  // without: takes CAP_SYS_ADMIN
  ~OwnNamespaces();
  OwnNamespaces(const OwnNamespaces&) = delete;
  OwnNamespaces& operator=(const OwnNamespaces&) = delete;

  // clone_into() with the first process of new namespaces as a result: its number here. A child of ours, or an orphan
  // as request.orphan says. Throws Error (refused) naming what forbids it.
  HostPid clone_into(const CloneRequest& request);

  bool exist() const { return init_pidfd_.valid(); }
  void commit(
      int root_pidfd);  // from here on process 1 outlives us; it waits for the end of this process and all others
  UniqueFd take_init_pidfd() { return std::move(init_pidfd_); }

 private:
  UniqueFd control_, init_pidfd_;
  bool with_user_, committed_ = false;
};

// Waits for the end of a child and collects it; false: it lives on after so many milliseconds.
bool collect_child(int pidfd, int milliseconds);

// The process lives in namespaces like those above: user and pid namespace children of ours, one user and one group in
// them, which have the same numbers outside.
bool lives_in_own_namespaces(HostPid pid);

// CAP_CHECKPOINT_RESTORE, where this process has it, is valid for its pid namespace too. Not so after unshare(1) of the
// user namespace alone.
bool owns_pid_namespace();

}  // namespace mcr::sys
