// What values of a kernel can be at all, whatever an image says: checked before they are used. x86-64. Pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace mcr::bounds {

inline constexpr uint64_t kPage = 4096;
inline constexpr uint64_t kTaskSize = 0x7ffffffff000;  // TASK_SIZE_MAX: the end of what a program can map
inline constexpr int64_t kMaxPid = 1 << 22;            // PID_MAX_LIMIT
inline constexpr size_t kMaxPath = 4095;               // PATH_MAX without its zero
inline constexpr size_t kMaxName = 255;                // NAME_MAX

inline bool is_user_address(uint64_t address) {
  return address < kTaskSize;
}
inline bool is_user_range(uint64_t start, uint64_t bytes) {
  return start <= kTaskSize && bytes <= kTaskSize - start;
}
inline bool is_pid(int64_t pid) {
  return pid > 0 && pid <= kMaxPid;
}
inline bool is_signal(int64_t signal) {
  return signal >= 1 && signal <= 64;
}
inline bool is_signal_or_none(int64_t signal) {
  return signal == 0 || is_signal(signal);
}

// A path as the kernel itself prints it: absolute, without zero bytes, empty components, "." or "..".
bool is_kernel_path(std::string_view path);

}  // namespace mcr::bounds
