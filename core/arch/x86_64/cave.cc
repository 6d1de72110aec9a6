#include "core/arch/cave.h"

#include <cstring>

extern "C" const std::byte mcr_cave_begin[], mcr_cave_end[], mcr_cave_attach[], mcr_cave_leave[], mcr_cave_unmap[],
    mcr_cave_probe[], mcr_cave_resume[], mcr_cave_slots[], mcr_cave_attached[], mcr_cave_left[];

namespace mcr::arch {
namespace {

constexpr uint64_t kTrapFlag = 0x100;
constexpr uint64_t kRestartSyscall = 219;  // __NR_restart_syscall

uint64_t offset_of(const std::byte* label) {
  return static_cast<uint64_t>(label - mcr_cave_begin);
}

}  // namespace

CaveEntries cave_entries() {
  return {.attach = offset_of(mcr_cave_attach),
          .attached = offset_of(mcr_cave_attached),
          .leave = offset_of(mcr_cave_leave),
          .unmap = offset_of(mcr_cave_unmap),
          .left = offset_of(mcr_cave_left),
          .probe = offset_of(mcr_cave_probe),
          .resume = offset_of(mcr_cave_resume),
          .size = offset_of(mcr_cave_end)};
}

std::span<const std::byte> cave_code() {
  return {mcr_cave_begin, mcr_cave_slots};
}

user_regs_struct restartable_frame(const user_regs_struct& stopped) {
  user_regs_struct frame = stopped;
  if (static_cast<int64_t>(stopped.orig_rax) < 0) return frame;  // not in a system call
  switch (static_cast<int64_t>(stopped.rax)) {
    case kRestartSys:
    case kRestartNoIntr:
    case kRestartNoHand:
      frame.rax = stopped.orig_rax;
      frame.rip -= 2;  // back to the syscall instruction, two bytes on this architecture
      break;
    case kRestartBlock:
      frame.rax = kRestartSyscall;  // the restart block itself is in the kernel and still there
      frame.rip -= 2;
      break;
    default:
      break;
  }
  return frame;
}

std::vector<std::byte> make_cave(const CaveSettings& settings) {
  const user_regs_struct f = restartable_frame(settings.frame);
  const uint64_t slots[] = {settings.total_bytes,
                            settings.code_bytes,
                            settings.sockets_offset,
                            settings.signal_mask,
                            f.eflags & ~kTrapFlag,
                            f.rip,
                            f.rsp,
                            f.rax,
                            f.rbx,
                            f.rcx,
                            f.rdx,
                            f.rsi,
                            f.rdi,
                            f.rbp,
                            f.r8,
                            f.r9,
                            f.r10,
                            f.r11,
                            f.r12,
                            f.r13,
                            f.r14,
                            f.r15};
  std::vector<std::byte> bytes(mcr_cave_begin, mcr_cave_end);
  static_assert(sizeof slots == 22 * 8);
  std::memcpy(bytes.data() + offset_of(mcr_cave_slots), slots, sizeof slots);
  return bytes;
}

}  // namespace mcr::arch
