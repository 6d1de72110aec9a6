// What is measured: a program of a size, and what is done with it.
#pragma once

#include <vector>

#include "bench/suite/process.h"

namespace bench {

enum class Mode {
  stop,      // a dump that ends the program, and its restore; the answer stays the same
  snapshot,  // a dump that lets it run on, which is looked at from inside; then the restore of that image.
             // The answer is its largest gap, and whether it is right it looks itself
  work       // no dump: how long the program takes for something fixed
};

struct Case {
  std::string name;    // "memory/random/256MiB"
  std::string family;  // the same program at other sizes: "memory/random"
  long size = 0;       // 0: it has none
  std::string unit;    // "MiB", "threads"
  Mode mode = Mode::stop;
  Words command;             // {folder} stands for a folder of the round
  bool connected = false;    // has TCP connections among its own processes
  bool incremental = false;  // of a snapshot: the second one, which builds upon one made before
  bool on_disk = false;      // the images go to a disk, and the variant without waiting for it is measured too
  std::string missing;       // why it cannot run here
};

struct Sizes {
  std::vector<long> memory, threads, processes, files, mappings, pipes, connections;
  long kinds = 0;  // MiB of each kind of content
  long pause = 0;  // MiB of the programs whose pause is measured
  long numpy = 0, redis_keys = 0, torch_width = 0, rank_mib = 0;
};

Sizes full_sizes();
Sizes quick_sizes();

struct Workshop {
  std::string victims;  // folder of the built programs
  std::string scripts;  // folder of those in Python
  std::string python;   // "" to look for one
  bool disk = false;    // a folder on a disk was given
};

std::vector<Case> all_cases(const Sizes& sizes, const Workshop& workshop);
// A program that comes to harm, for the suite's own test: "harmed/value".
std::vector<Case> harmed_cases(const Workshop& workshop);

}  // namespace bench
