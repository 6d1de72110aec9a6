// Bytes with a structure that is not ours: registers, x87 and SSE state, siginfo. Pure; callable from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mcr::images {

struct PartChange {
  std::string name;  // "rax", "xmm3", "si_pid"
  std::string before, after;
};

std::vector<PartChange> compare_registers(std::string_view a, std::string_view b);
std::vector<PartChange> compare_legacy_state(std::string_view a, std::string_view b);  // x87, MXCSR, SSE
std::vector<PartChange> compare_siginfo(std::string_view a, std::string_view b);
int signal_number(const std::string& siginfo);     // 0 when it is none
std::string siginfo_text(std::string_view bytes);  // "signal 14, code 128"

// "12 bytes 00ab…" around the first byte that differs.
PartChange compare_bytes(std::string_view a, std::string_view b);

}  // namespace mcr::images
