// Rules that a process has put upon itself, or keys that it holds, which nobody can give to another one: Landlock
// domains, keyrings, labels of security modules. A restored program would lack them without a word, so they are
// refused.
#pragma once

#include "core/inject/session.h"
#include "core/sys/security.h"

namespace mcr::engine {

// A label (SELinux, AppArmor, Smack) other than ours: the restored program would get ours. While the program runs.
void refuse_foreign_label(HostPid view);

// Asks through the parasite, whose thread stands for all. `bystander`: has the real ids of that thread; may be null.
void refuse_confined(inject::ParasiteSession& parasite, const sys::Bystander* bystander);

}  // namespace mcr::engine
