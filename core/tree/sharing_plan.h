// The part of a creation plan that hands on what processes share (creation_plan.h).
#pragma once

#include "core/tree/creation_plan.h"

namespace mcr::tree {

// Says in each step what is shared, adds the steps at which a process leaves what it had only to hand on, and lets a
// process be made by a sibling where its parent does not share with it. Throws Fault::refused for what cannot be made.
void share(std::span<const Member> members, std::vector<CreationStep>& steps);

}  // namespace mcr::tree
