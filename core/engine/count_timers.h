// POSIX timers with their old ids where these cannot be asked for (before 6.15): a process gives its timers the numbers
// 0, 1, 2, ... in the order in which they are made, and none of them again for a long time. So timers are made and
// deleted until the number comes.
#pragma once

#include "core/facets/facet.h"
#include "core/inject/channel.h"

namespace mcr::engine {

inline constexpr int kMostCountedTimers = 1'000'000;  // some seconds

// In a process that has made no timer yet, by its leader, when all its threads are there.
void count_timers(inject::Channel& channel, const facets::TimerSignals& timers);

}  // namespace mcr::engine
