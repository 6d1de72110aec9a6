#include "core/arch/xstate.h"

#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "core/base/error.h"
#include "core/sys/ptrace.h"

namespace mcr::arch {
namespace {

constexpr size_t kXcr0Offset = 464;    // sw_reserved of the legacy area: the kernel puts XCR0 there
constexpr size_t kHeaderOffset = 512;  // XSAVE header, XSTATE_BV first
constexpr size_t kMaxBytes = 16384;    // with AMX about 11 KiB

uint64_t word_at(const std::string& state, size_t offset) {
  if (state.size() < offset + 8) throw Error(Fault::image, fmt::format("extended state of {} bytes", state.size()));
  uint64_t value;
  std::memcpy(&value, state.data() + offset, sizeof value);
  return value;
}

}  // namespace

void save_xstate(HostTid tid, std::string& out) {
  std::array<std::byte, kMaxBytes> buffer;  // not cleared: the kernel fills what it reports
  const size_t n = sys::get_xstate(tid, buffer);
  out.assign(reinterpret_cast<const char*>(buffer.data()), n);
}

void load_xstate(HostTid tid, const std::string& state) {
  if (state.size() > kMaxBytes) throw Error(Fault::image, fmt::format("extended state of {} bytes", state.size()));
  sys::set_xstate(tid, std::as_bytes(std::span(state)));
}

uint64_t xcr0_of(const std::string& state) {
  return word_at(state, kXcr0Offset);
}
uint64_t used_components(const std::string& state) {
  return word_at(state, kHeaderOffset);
}

std::string component_names(uint64_t bits) {
  static constexpr const char* kNames[] = {"x87",
                                           "SSE",
                                           "AVX",
                                           "MPX bounds",
                                           "MPX status",
                                           "AVX-512 opmask",
                                           "AVX-512 upper halves",
                                           "AVX-512 registers 16-31",
                                           "PT",
                                           "PKRU",
                                           "PASID",
                                           "CET user",
                                           "CET kernel",
                                           "HDC",
                                           "UINTR",
                                           "LBR",
                                           "HWP",
                                           "AMX configuration",
                                           "AMX tiles"};
  std::string names;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (!(bits >> bit & 1)) continue;
    if (!names.empty()) names += ", ";
    names += bit < std::size(kNames) ? kNames[bit] : fmt::format("component {}", bit);
  }
  return names;
}

}  // namespace mcr::arch
