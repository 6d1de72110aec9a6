// The processes of a tree, created: parents, sessions and groups as in the image, each standing inside its parasite,
// with nothing else of its own yet but the memory that its children share with it. Zombies have ended already.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "core/engine/inherited_memory.h"
#include "core/engine/options.h"
#include "core/inject/new_process.h"
#include "core/kinds/ptys.h"
#include "core/procfs/maps.h"
#include "core/tree/process_image.h"

namespace mcr::engine {

using NewProcesses = std::map<int32_t, std::unique_ptr<inject::NewProcess>>;  // by pid, without zombies

using Terminals = std::map<pid_t, kinds::ControllingTerminal>;  // by session

struct CreationContext {
  const std::vector<tree::ProcessImage>& images;
  const std::vector<procfs::Mapping>& ours;  // of the engine, which all of them begin with and lose here
  const RestoreOptions& options;
  const Terminals& terminals;
  sys::OwnNamespaces* namespaces;  // where they are to live; null: in ours
  InheritedMemory& memory;
  // Called for a new process that gets memory at once, which its control groups are to count.
  std::function<void(int32_t pid)> before_memory;
  Damage& damage;
};
// `zombies`: what pids those that have ended again have here. Throws; nothing is left then.
NewProcesses create_tree(const CreationContext& context, std::map<int32_t, HostPid>& zombies);

// Numbers that must be free for as long as the tree is being created, besides those of its processes and threads.
std::vector<pid_t> helper_pids(const std::vector<tree::ProcessImage>& images, bool inherits_session);

}  // namespace mcr::engine
