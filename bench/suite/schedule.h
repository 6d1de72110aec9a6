// In which order everything is measured: engines in turn (A B C, B C A, ...), cases in turn, until all have as many
// rounds as they may or the time is spent.
#pragma once

#include <functional>

#include "bench/suite/results.h"

namespace bench {

struct Plan {
  int rounds = 9;       // at most, of each case
  bool warm_up = true;  // one more round of each goes first and is not counted
  double budget = 900;  // seconds; no round begins that would take longer, by the time of the one before
  Measure how;
};

// What is being done: "memory/random/64MiB", "criu", and the rounds of that case so far.
using Progress = std::function<void(const std::string& what, const std::string& engine, int round)>;

// The results of all cases, in their order, and the limits for the sizes of memory among them.
void measure_all(const std::vector<Case>& cases, const std::vector<Found>& engines, const Plan& plan,
                 const Progress& progress, Results& results);

}  // namespace bench
