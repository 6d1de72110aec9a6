// The way back that needs no parasite: a few hundred bytes of code in the zero padding of the victim's vdso (or another
// executable page). Whoever runs it ends in the saved frame with nothing left mapped, also when the engine is dead.
//
// Layout of a cave: [attach code | probe code | leave code | slots]. The engine fills the slots with the victim's
// registers, points a stopped thread at one of the entries and lets it run. Every path ends in `resume`, which puts
// back flags, stack pointer, signal mask, all general registers and jumps to the saved instruction. The FPU is never
// touched. The code is position-independent; slots are read relative to rip.
#pragma once

#include <sys/user.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mcr::arch {

struct CaveEntries {  // offsets from the start of the cave; where ebp is 0, `attach` and `unmap` send no signal
  // Map the parasite, make its socket pair, tgkill(r14, r15, ebp); wait for a byte, enter it. A call that fails:
  // leaves, with its result in r12 (the first one) or r14.
  uint64_t attach;
  uint64_t attached;  // behind that tgkill: the mapping is at r12
  uint64_t leave;     // close the socket in r13; then as `unmap`
  uint64_t unmap;     // unmap the parasite at r12, result to r13; tgkill(rbx, r15, ebp), resume
  uint64_t left;      // behind that tgkill
  // Asks for altstack (to rdi), tid address (rsi), TSC mode (rsi + 8), death signal (rdx); policy for memory failures
  // (r9), securebits (r8), CPUID (r10) stay in registers; then tgkill(r14, r15, ebp), resumes
  uint64_t probe;
  uint64_t resume;  // only resume
  uint64_t size;
};
CaveEntries cave_entries();

struct CaveSettings {
  user_regs_struct frame;  // where to go back to
  uint64_t signal_mask;
  uint64_t total_bytes;  // of the parasite's mapping
  uint64_t code_bytes;
  uint64_t sockets_offset;  // where in the mapping the socket pair goes
};
// The code alone, without slots: to recognise a cave.
std::span<const std::byte> cave_code();
// The bytes to be written into the victim.
std::vector<std::byte> make_cave(const CaveSettings& settings);

// The frame as the kernel would make it when nothing but the interrupted system call had happened: with the
// restart of that call already arranged in rip and rax, because only a tracer can leave it to the kernel.
user_regs_struct restartable_frame(const user_regs_struct& stopped);

// System call results that never reach user space (linux/errno.h): the call is to be restarted.
inline constexpr int64_t kRestartSys = -512, kRestartNoIntr = -513, kRestartNoHand = -514, kRestartBlock = -516;

}  // namespace mcr::arch
