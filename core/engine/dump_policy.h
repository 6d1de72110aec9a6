// What the options of a dump mean to the kinds of files.
#pragma once

#include "core/engine/options.h"
#include "core/kinds/open_files.h"

namespace mcr::engine {

kinds::DumpPolicy dump_policy(const DumpOptions& options);
// The same before the driver has been told to give up GPU devices.
kinds::DumpPolicy policy_of_look(kinds::DumpPolicy policy);

}  // namespace mcr::engine
