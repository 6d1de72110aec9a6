// Whether an image asks for rights that the caller could not take without mini-criu. An image is a file that anybody
// may have written: what it says of users, capabilities and priorities is a wish.
#pragma once

#include "core/base/error.h"
#include "core/engine/caller.h"
#include "core/kinds/opened_files.h"
#include "core/tree/process_image.h"

namespace mcr::engine {

// Appends what stands in the way, each with the right that is missing. `own_namespaces`: the processes will live in a
// user namespace of their own, where only the caller's own user and group exist.
void check_rights(const std::vector<tree::ProcessImage>& processes, const kinds::OpenedFiles& files,
                  const Caller& caller, bool own_namespaces, std::vector<Problem>& problems);

}  // namespace mcr::engine
