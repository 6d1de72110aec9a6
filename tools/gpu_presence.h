// Whether a program that needs a GPU can be run as a job here.
#pragma once

namespace mcr::cli {

// Asks the driver, in a process of its own, as the driver starts threads. Throws Error(refused).
void require_gpu();

}  // namespace mcr::cli
