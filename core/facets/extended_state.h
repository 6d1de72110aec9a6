// The extended registers of a thread between their message and what core/arch works with.
#pragma once

#include "core/arch/xstate.h"
#include "images/proto/core.pb.h"
#include "images/proto/inventory.pb.h"

namespace mcr::facets {

mcr::image::ExtendedState extended_message(const arch::ExtendedState& state);
// Throws Fault::image when the message makes no sense. `cpu`: where it was saved; the area of an early image can be
// taken apart only where CPUs have the same.
arch::ExtendedState extended_state(const mcr::image::ThreadCore& thread, const mcr::image::CpuState& cpu);

}  // namespace mcr::facets
