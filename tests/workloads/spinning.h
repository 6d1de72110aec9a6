// For workloads that hold values in registers while they spin: the loop reads one word of memory, which the handler of
// SIGTERM sets, and calls nothing.
#pragma once

#include "waiting.h"

extern "C" volatile uint32_t spin_over;
volatile uint32_t spin_over = 0;

namespace workload {

// Runs `spin` (assembly that returns when spin_over is set), with SIGTERM let through.
inline void spin_until_term(void (*spin)()) {
  let_term_through([](int) { spin_over = 1; });
  unblock_term();
  ready();
  spin();
  MUST_BE(spin_over, 1);
}

}  // namespace workload
