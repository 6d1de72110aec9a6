// Work on many new processes by two threads of the engine: what is done to one process does not depend on what is done
// to another one, so that the one can wait for its process while the other one works.
#pragma once

#include <functional>
#include <vector>

#include "core/engine/create_tree.h"

namespace mcr::engine {

// Calls work(i) once for each of `numbers`, by two threads where there are many. The second one must not trace; what it
// has to ask of the thread that traces goes over a desk. After a failure nothing new is begun; that of the first in
// the order of `numbers` is thrown, with the steps that are open here.
void by_crew(NewProcesses& processes, const std::vector<size_t>& numbers, const std::function<void(size_t)>& work);

}  // namespace mcr::engine
