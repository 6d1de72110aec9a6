// What the machine itself takes for the same amounts of memory: no engine can be quicker than these.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace bench {

// One measurement of so many MiB, by figure, ms: "memcpy_ms" into memory that is there, "fill_ms" into fresh memory of
// 4 KiB pages, "write_ms" to a new file on the file system of the images, "read_ms" from it into fresh memory,
// "fork_ms" the call of a process that has the memory. By a process of its own, in `folder`. Throws Failure.
std::map<std::string, double> measure_limits(long mib, const std::string& folder);

}  // namespace bench
