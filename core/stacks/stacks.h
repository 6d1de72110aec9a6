// Stacks of a process tree with names: of a running one, which stands still for a moment, and of an image.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/damage.h"
#include "core/base/ids.h"
#include "images/store.h"

namespace mcr::stacks {

struct Frame {
  uint64_t pc = 0;
  std::string function;        // demangled, any bytes; empty: not known
  uint64_t offset = 0;         // of pc in the function
  std::string module;          // path of the file, any bytes; empty: the code is no file's
  uint64_t module_offset = 0;  // pc as the file itself counts
  bool is_signal = false;      // where a signal has interrupted what follows
  bool is_guessed = false;     // found by the frame pointer
};

struct PythonFrame {
  std::string function, file;  // any bytes
  int line = 0;                // 0: not known
};

struct ThreadStack {
  int32_t tid = 0;
  std::string name;   // comm, any bytes
  std::string state;  // "running", "in nanosleep", "stopped", "ended"
  std::vector<Frame> frames;
  std::string ending;  // why the stack is not known further; empty: this is where it begins
  std::vector<PythonFrame> python;
};

struct ProcessStacks {
  int32_t pid = 0;
  std::string name;  // comm, any bytes
  bool ended = false;
  std::vector<ThreadStack> threads;
  std::vector<std::string> missing;  // files that cannot be had, and why; any bytes
};

// Puts the stacks of one process into words, or bytes. It is called in a child of ours (core/stacks/told.h).
using Tell = std::function<std::string(const ProcessStacks&)>;

struct TreeStacks {
  std::vector<std::string> processes;  // as they were told
  uint64_t pause_us = 0;               // that the whole tree stood still; 0: it is an image
};

struct Search {
  std::vector<std::string> debug_folders;  // with files by build-id below .build-id
};

// Of the process and all below it. Nothing of them is changed; a system call that waits goes on waiting.
TreeStacks stacks_of_running(HostPid root, std::chrono::milliseconds timeout, const Search& search, const Tell& tell,
                             Damage& damage);
// Of an image, or of one of its processes. Nothing of the program is needed but its files, and where those are missing
// as much is told as there is. Throws Fault::image with file and offset for a damaged one.
TreeStacks stacks_of_image(const images::ImagePlace& place, std::optional<int32_t> pid, const Search& search,
                           const Tell& tell);

}  // namespace mcr::stacks
