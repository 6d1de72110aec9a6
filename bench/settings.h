// What engine-bench was asked to do. Every option has an environment variable of the same name: --memory-mib is
// MCR_BENCH_MEMORY_MIB.
#pragma once

#include <string>

namespace bench {

struct Settings {
  std::string engine = MCR_BENCH_ENGINE;    // mini-criu
  std::string criu;                         // its peer, measured in turn with it; empty: not at all
  std::string victims = MCR_BENCH_VICTIMS;  // folder of the programs that are dumped
  std::string tmpfs = "/dev/shm";           // where the images go
  std::string disk;                         // a folder on a disk for the cases where it matters; empty: none of them
  int rounds = 15;
  int memory_mib = 1024;
  int threads = 1000;
  bool quick = false;
};

// Takes the options it knows out of the command line and leaves the others for the benchmark library.
Settings take_settings(int& argc, char** argv);

}  // namespace bench
