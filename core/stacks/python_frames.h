// The frames of CPython 3.11 in the memory of a process: the interpreter tells where its threads are (_PyRuntime, which
// it exports), and offsets of that version lead on (Include/internal/pycore_frame.h). The offsets of other versions are
// others: those are passed over. Nothing that is read is trusted: all is bounded. One thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/stacks/memory.h"
#include "core/stacks/modules.h"
#include "core/stacks/stacks.h"

namespace mcr::stacks {

struct PythonInterpreter {
  uint64_t runtime = 0;  // the address of _PyRuntime
};
// nullopt: the process has no CPython 3.11.
std::optional<PythonInterpreter> find_python(Modules& modules, Memory& memory);

struct PythonPlace {
  uint64_t code = 0, instruction = 0;  // addresses of a code object and in it
};
// By the number of the thread in its own pid namespace, innermost first. Quick, as a program stands still for it.
using PythonPlaces = std::map<uint64_t, std::vector<PythonPlace>>;
PythonPlaces collect_python(const PythonInterpreter& interpreter, const ReadMemory& read);

// Code objects do not change while they are used.
std::vector<PythonFrame> name_python(const std::vector<PythonPlace>& places, Memory& memory);

}  // namespace mcr::stacks
