// The extended state of a thread (x87, SSE, AVX, AVX-512, PKRU, AMX), independent of where a CPU keeps its parts.
//
// The kernel hands it out as one uncompacted XSAVE area (PTRACE_GETREGSET with NT_X86_XSTATE): 512 bytes of x87 and
// SSE, a header of 64 bytes, then components, each at an offset of the CPU's own choice (CPUID leaf 0xD; Intel and AMD
// differ, and so do generations). Taken apart at the dump, put together for the CPU at hand at the restore.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/ids.h"

namespace mcr::arch {

inline constexpr unsigned kPkru = 9, kTileData = 18;  // numbers of components, bits of XCR0 (Intel SDM 13.1)

struct XstateLayout {
  struct Place {
    uint32_t offset = 0, bytes = 0;
  };
  std::map<unsigned, Place> components;  // without x87 and SSE, which are at the same place everywhere
  uint32_t bytes = 576;                  // of the whole area
  uint32_t mxcsr_mask = 0xffff;          // bits that MXCSR may have
};
// Of this CPU, as far as the kernel has enabled it for programs.
const XstateLayout& host_layout();

struct ExtendedState {
  static constexpr size_t kLegacyBytes = 416;  // x87, MXCSR and SSE; what follows is reserved
  std::string legacy;
  uint64_t in_use = 0;                         // XSTATE_BV
  std::map<unsigned, std::string> components;  // those that hold something
};

// Throws Fault::image when the area is shorter than its layout says.
ExtendedState split_xstate(std::span<const std::byte> area, const XstateLayout& layout);
// The area as `layout` wants it. `own`: what the thread to be given it holds now; its protection keys stay when the
// state has none. Throws what find_misfits would have said.
std::vector<std::byte> compose_xstate(const ExtendedState& state, const XstateLayout& layout,
                                      std::span<const std::byte> own);
// Why a CPU of this layout cannot take the state: one sentence for each reason ("uses AVX-512 opmask registers, ...").
std::vector<std::string> find_misfits(const ExtendedState& state, const XstateLayout& layout);

// Components that a process may only use with a permission of its own (ARCH_REQ_XCOMP_PERM, 5.16), of a mask of all
// that it may use.
std::vector<unsigned> components_by_permission(uint64_t permitted);
// Those of them that a CPU with this XCR0 lacks, in a sentence each.
std::vector<std::string> find_missing_permissions(uint64_t permitted, uint64_t xcr0);

ExtendedState save_xstate(HostTid tid);
void load_xstate(HostTid tid, const ExtendedState& state);
bool uses_tiles(const ExtendedState& state);  // AMX: needs a permission of the process first

// XCR0 as the kernel writes it into the reserved bytes of an area.
uint64_t xcr0_of(std::span<const std::byte> area);
uint64_t host_xcr0();
std::string component_name(unsigned component);

}  // namespace mcr::arch
