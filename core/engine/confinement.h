// Rules that a process has put upon itself, or keys that it holds, which nobody can give to another one: Landlock
// domains, keyrings, labels of security modules. A restored program would lack them without a word, so they are
// refused.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "core/inject/session.h"
#include "core/procfs/status.h"
#include "core/sys/security.h"

namespace mcr::engine {

// A label (SELinux, AppArmor, Smack) other than ours: the restored program would get ours. While the program runs.
void refuse_foreign_label(HostPid view);

// A bystander for each pair of real ids that a tree has. None where the kernel has no Landlock.
class Bystanders {
 public:
  void prepare(const std::set<HostPid>& tree);           // before the pause: it takes a while to make a process
  const sys::Bystander* of(uint32_t uid, uint32_t gid);  // made now when it is not prepared; null: not needed
  void end() { all_.clear(); }

 private:
  bool are_needed_ = sys::has_landlock();
  std::map<std::pair<uint32_t, uint32_t>, sys::Bystander> all_;
};

// Asked through the parasite, whose thread stands for all: its constructor adds the questions to a batch.
class ConfinementQuestions {
 public:
  // `host`: the status of the thread that is asked.
  ConfinementQuestions(inject::Batch& batch, HostPid pid, const procfs::Status& host, Bystanders& bystanders);
  // When the batch has been run. What it answers may lead to one more question.
  void refuse(const inject::Batch& batch, inject::ParasiteSession& parasite) const;

 private:
  std::optional<size_t> landlock_;
  size_t thread_ = 0, process_ = 0, session_ = 0, listed_ = 0;
  RemoteAddr name_, keys_;
};

}  // namespace mcr::engine
