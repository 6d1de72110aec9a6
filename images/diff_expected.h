// The differences between two images of one standing program that have a reason; docs/diff.md lists them. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "images/connection_diff.h"
#include "images/message_diff.h"
#include "images/proto/core.pb.h"
#include "images/proto/inventory.pb.h"

namespace mcr::images {

struct ArmedTimer {
  int signal = 0;
  uint64_t remaining_ns = 0;
};

struct DiffContext {
  std::set<int32_t> pids;          // of the images
  uint64_t elapsed_ns = 0;         // at most so long lay between the two
  bool timed_out = false;          // the thread that is compared: see has_timed_out
  BothConnections connections;     // of the images
  std::vector<ArmedTimer> timers;  // of the process that is compared, as the first image has them
};

// Time between the states of two images, generously.
uint64_t elapsed_between(const image::Inventory& before, const image::Inventory& after, uint64_t dump_ns);
std::vector<ArmedTimer> armed_timers(const image::ProcessCore& core);

// Has the thread's system call come to the end of its time-out between the images? `read`: memory of the first one.
bool has_timed_out(const image::ThreadCore& before, const image::ThreadCore& after,
                   const std::function<std::string(uint64_t, size_t)>& read, const image::Inventory& then,
                   uint64_t elapsed_ns);

// The reason of a change, null when it has none.
const char* expected_reason(const FieldChange& change, const DiffContext& context);

}  // namespace mcr::images
