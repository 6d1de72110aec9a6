#include "core/arch/xstate.h"

#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/base/error.h"
#include "core/sys/ptrace.h"

namespace mcr::arch {
namespace {

constexpr size_t kMxcsrOffset = 24, kMxcsrMaskOffset = 28;
constexpr size_t kXcr0Offset = 464;    // sw_reserved of the legacy area: the kernel puts XCR0 there
constexpr size_t kHeaderOffset = 512;  // XSAVE header, XSTATE_BV first, the rest must be zero
constexpr size_t kHeaderEnd = 576;
constexpr size_t kMaxBytes = 16384;          // with AMX about 11 KiB
constexpr uint64_t kLegacy = 3;              // x87 and SSE
constexpr uint32_t kLinuxPkru = 0x55555554;  // a program's keys from exec on, unless it changes them (5.14: init_pkru)

template <typename T>
T value_at(std::span<const std::byte> area, size_t offset) {
  if (area.size() < offset + sizeof(T))
    throw Error(Fault::image, fmt::format("extended state of {} bytes", area.size()));
  T value;
  std::memcpy(&value, area.data() + offset, sizeof value);
  return value;
}

bool is_initial(unsigned component, const std::string& content) {
  if (component == kPkru && content.size() >= sizeof kLinuxPkru &&
      std::memcmp(content.data(), &kLinuxPkru, sizeof kLinuxPkru) == 0)
    return true;
  return std::all_of(content.begin(), content.end(), [](char c) { return c == 0; });
}

XstateLayout read_layout() {
  XstateLayout layout;
  unsigned a = 0, b = 0, c = 0, d = 0;
  alignas(16) std::array<std::byte, 512> fxsave{};
  asm volatile("fxsave64 %0" : "=m"(fxsave));
  if (const auto mask = value_at<uint32_t>(fxsave, kMxcsrMaskOffset)) layout.mxcsr_mask = mask;
  const uint64_t enabled = host_xcr0();
  for (unsigned i = 2; i < 63; ++i) {
    if (!(enabled >> i & 1)) continue;
    __cpuid_count(0xd, i, a, b, c, d);
    constexpr unsigned kSupervisor = 1;
    if (a == 0 || (c & kSupervisor)) continue;
    layout.components[i] = {b, a};
    layout.bytes = std::max(layout.bytes, a + b);
  }
  return layout;
}

}  // namespace

uint64_t host_xcr0() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return kLegacy;
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

const XstateLayout& host_layout() {
  static const XstateLayout layout = read_layout();
  return layout;
}

ExtendedState split_xstate(std::span<const std::byte> area, const XstateLayout& layout) {
  ExtendedState state;
  state.in_use = value_at<uint64_t>(area, kHeaderOffset);
  if (area.size() < kHeaderEnd) throw Error(Fault::image, fmt::format("extended state of {} bytes", area.size()));
  state.legacy.assign(reinterpret_cast<const char*>(area.data()), ExtendedState::kLegacyBytes);
  for (const auto& [component, place] : layout.components) {
    // The kernel reports the keys of PKRU from elsewhere than the rest: XSTATE_BV need not speak of them.
    if (!(state.in_use >> component & 1) && component != kPkru) continue;
    if (place.offset > area.size() || place.bytes > area.size() - place.offset) {
      if (component == kPkru) continue;
      throw Error(Fault::image,
                  fmt::format("extended state of {} bytes without its {}", area.size(), component_name(component)));
    }
    state.components[component].assign(reinterpret_cast<const char*>(area.data()) + place.offset, place.bytes);
  }
  return state;
}

std::vector<std::string> find_misfits(const ExtendedState& state, const XstateLayout& layout) {
  if (state.legacy.size() != ExtendedState::kLegacyBytes) return {"has no x87 and SSE registers"};
  std::vector<std::string> misfits;
  uint32_t mxcsr = 0;
  std::memcpy(&mxcsr, state.legacy.data() + kMxcsrOffset, sizeof mxcsr);
  if (mxcsr & ~layout.mxcsr_mask)
    misfits.push_back(fmt::format("has MXCSR {:#x}, of which this CPU does not know the bits {:#x}", mxcsr,
                                  mxcsr & ~layout.mxcsr_mask));
  for (unsigned i = 2; i < 64; ++i)
    if ((state.in_use >> i & 1) && !state.components.contains(i) && i != kPkru)
      misfits.push_back(fmt::format("uses {}, which the image does not hold", component_name(i)));
  for (const auto& [component, content] : state.components) {
    const auto place = layout.components.find(component);
    if (place == layout.components.end()) {
      if (!is_initial(component, content))
        misfits.push_back(fmt::format("uses {}, this CPU has none", component_name(component)));
    } else if (place->second.bytes != content.size()) {
      misfits.push_back(fmt::format("has {} bytes of {}, this CPU has {}", content.size(), component_name(component),
                                    place->second.bytes));
    }
  }
  return misfits;
}

// XFEATURE_MASK_USER_DYNAMIC
std::vector<unsigned> components_by_permission(uint64_t permitted) {
  if (permitted >> kTileData & 1) return {kTileData};
  return {};
}

std::vector<std::string> find_missing_permissions(uint64_t permitted, uint64_t xcr0) {
  std::vector<std::string> missing;
  for (const unsigned component : components_by_permission(permitted))
    if (!(xcr0 >> component & 1))
      missing.push_back(fmt::format("has the permission to use {}, this CPU has none", component_name(component)));
  return missing;
}

std::vector<std::byte> compose_xstate(const ExtendedState& state, const XstateLayout& layout,
                                      std::span<const std::byte> own) {
  if (const auto misfits = find_misfits(state, layout); !misfits.empty())
    throw Error(Fault::refused, fmt::format("it {}", misfits.front()));
  std::vector<std::byte> area(std::max<size_t>(layout.bytes, own.size()));
  std::memcpy(area.data(), state.legacy.data(), state.legacy.size());
  std::memcpy(area.data() + kMxcsrMaskOffset, &layout.mxcsr_mask, sizeof layout.mxcsr_mask);
  uint64_t in_use = state.in_use & kLegacy;
  for (const auto& [component, place] : layout.components) {
    const auto content = state.components.find(component);
    const std::byte* source = nullptr;
    if (content != state.components.end())
      source = reinterpret_cast<const std::byte*>(content->second.data());
    else if (component == kPkru && own.size() >= place.offset + place.bytes)
      source = own.data() + place.offset;
    if (!source) continue;
    std::memcpy(area.data() + place.offset, source, place.bytes);
    if (component == kPkru || (state.in_use >> component & 1)) in_use |= uint64_t{1} << component;
  }
  std::memcpy(area.data() + kHeaderOffset, &in_use, sizeof in_use);
  return area;
}

ExtendedState save_xstate(HostTid tid) {
  std::array<std::byte, kMaxBytes> buffer;  // not cleared: the kernel fills what it reports
  const size_t n = sys::get_xstate(tid, buffer);
  return split_xstate(std::span(buffer).first(n), host_layout());
}

void load_xstate(HostTid tid, const ExtendedState& state) {
  std::array<std::byte, kMaxBytes> buffer;
  const size_t n = sys::get_xstate(tid, buffer);
  const Step step("extended registers");
  const std::vector<std::byte> area = compose_xstate(state, host_layout(), std::span(buffer).first(n));
  sys::set_xstate(tid, std::span(area).first(n));  // the kernel takes the size that it gave, no other
}

bool uses_tiles(const ExtendedState& state) {
  const auto tiles = state.components.find(kTileData);
  return tiles != state.components.end() && (state.in_use >> kTileData & 1);
}

uint64_t xcr0_of(std::span<const std::byte> area) {
  return value_at<uint64_t>(area, kXcr0Offset);
}

std::string component_name(unsigned component) {
  static constexpr const char* kNames[] = {"x87 registers",
                                           "SSE registers",
                                           "AVX registers",
                                           "MPX bound registers",
                                           "MPX configuration",
                                           "AVX-512 opmask registers",
                                           "AVX-512 upper halves of registers 0 to 15",
                                           "AVX-512 registers 16 to 31",
                                           "processor trace",
                                           "memory protection keys (PKRU)",
                                           "PASID",
                                           "shadow stacks",
                                           "shadow stacks of the kernel",
                                           "hardware duty cycling",
                                           "user interrupts",
                                           "last branch records",
                                           "hardware performance states",
                                           "AMX tile configuration",
                                           "AMX tiles",
                                           "APX registers"};
  return component < std::size(kNames) ? kNames[component] : fmt::format("registers of component {}", component);
}

}  // namespace mcr::arch
