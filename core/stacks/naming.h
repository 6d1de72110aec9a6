// From addresses to what a person reads. One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/stacks/modules.h"
#include "core/stacks/stacks.h"
#include "core/stacks/walk.h"

namespace mcr::stacks {

// What a thread does, from the registers it was stopped with.
std::string state_of(const sys::Registers& registers, bool by_job_control);
std::string_view system_call_name(uint64_t number);  // empty: not known
// As a C++ programmer has written it. Names that are none, or would become very long, stay as they are.
std::string demangled(const std::string& name);

// The frames of all threads of a process: their files are gone through once.
void name_frames(Modules& modules, const std::vector<Walked>& walks, std::vector<ThreadStack>& threads);

}  // namespace mcr::stacks
