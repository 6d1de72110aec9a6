// The GPUs of the stand-in, and what it is told to do wrong.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace fake_cuda {

using Uuid = std::array<unsigned char, 16>;

struct DeviceLine {
  Uuid uuid{};
  size_t memory_bytes = 0;
  int major = 0, minor = 0;
  std::string name;
};
// Of the file "devices", one a line: 32 hexadecimal digits, bytes, major, minor, name.
std::vector<DeviceLine> read_devices();
std::string hex(const Uuid& uuid);

// A line of "faults" for a call, if there is one: "CALL RESULT DELAY_MS COUNT". It holds for COUNT calls (0: for all).
// Waits for the delay; the result that the call is to have, 0 when it is to do its work.
int fault_of(const std::string& call);
void note_call(const std::string& call, int pid, int result);  // one line of "calls"

}  // namespace fake_cuda
