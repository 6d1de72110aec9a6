// A process tree stopped for as long as it takes to copy registers and stacks, and let go again.
#pragma once

#include <map>
#include <vector>

#include "core/base/damage.h"
#include "core/stacks/memory.h"
#include "core/stacks/python_frames.h"
#include "core/stacks/stacks.h"
#include "core/sys/ptrace.h"
#include "core/trace/frozen_tree.h"

namespace mcr::stacks {

struct StoppedThread {
  HostTid tid;
  sys::Registers registers{};
  bool by_job_control = false;
};

struct StoppedProcess {
  HostPid pid, view;  // view: a thread that lives
  bool ended = false;
  std::vector<StoppedThread> threads;
  std::vector<CopiedRange> copies;
  PythonPlaces python;
};

struct StoppedTree {
  std::vector<StoppedProcess> processes;
  uint64_t pause_us = 0;
};

// `pythons`: the interpreters of processes, as they were found before. Throws Error when it cannot be stopped; then all
// run on.
StoppedTree copy_stacks(HostPid root, const std::map<HostPid, PythonInterpreter>& pythons,
                        const sys::Deadline& deadline, Damage& damage);
StoppedProcess copy_process(trace::FrozenProcess& frozen);
ReadMemory living_memory(HostPid view);
// Names what was copied. The process runs again, or has ended since.
ProcessStacks stacks_of_stopped(StoppedProcess& process, const Search& search);

}  // namespace mcr::stacks
