#include "core/trace/critical_section.h"

#include "core/base/log.h"

namespace mcr::trace {
namespace {

struct RseqSection {  // struct rseq_cs of linux/rseq.h, 4.18
  uint32_t version, flags;
  uint64_t start, length, abort;
};
constexpr uint64_t kSectionPointer = 8;  // offset of rseq_cs in struct rseq

}  // namespace

sys::RseqConfiguration leave_critical_section(Tracee& thread, HostPid pid) {
  const auto rseq = sys::get_rseq(thread.tid());
  if (rseq.address == 0) return rseq;
  uint64_t pointer = 0;
  if (!sys::try_read_memory(pid, RemoteAddr(rseq.address + kSectionPointer), &pointer, sizeof pointer) || pointer == 0)
    return rseq;
  RseqSection section{};
  if (!sys::try_read_memory(pid, RemoteAddr(pointer), &section, sizeof section)) return rseq;
  sys::Registers frame = thread.frame();
  if (frame.rip - section.start >= section.length) return rseq;
  log::debug("trace", "thread {} leaves its restartable sequence at {:#x} for {:#x}", thread.tid(), frame.rip,
             section.abort);
  // First the registers, then the pointer: a thread at its abort handler with the pointer still set is left alone.
  frame.rip = section.abort;
  sys::set_registers(thread.tid(), frame);
  thread.set_frame(frame);
  pointer = 0;
  sys::write_memory(pid, RemoteAddr(rseq.address + kSectionPointer), &pointer, sizeof pointer);
  return rseq;
}

}  // namespace mcr::trace
