#include "core/mem/event_calls.h"

#include <sys/syscall.h>

#include <algorithm>

namespace mcr::mem {
namespace {

constexpr uint64_t kPage = 4096;

// Whether a system call may have led to that event. Of mremap(2): from, bytes, new bytes, flags, to.
bool fits(const sys::FaultEvent& event, const sys::ThreadCall& call) {
  using Kind = sys::FaultEvent::Kind;
  const uint64_t* a = call.arguments;
  switch (event.kind) {
    case Kind::remap:
      return call.number == SYS_mremap && a[0] == event.start;
    case Kind::unmap:
      if (call.number == SYS_mremap)
        return a[0] == event.start || a[4] == event.start || (a[2] < a[1] && a[0] + a[2] == event.start);
      return (call.number == SYS_munmap || call.number == SYS_mmap) && a[0] == event.start;
    case Kind::remove:
      return call.number == SYS_madvise && a[0] <= event.start && event.start - a[0] < a[1];
    case Kind::fork:
      return call.number == SYS_clone || call.number == SYS_clone3 || call.number == SYS_fork;
    default:
      return false;
  }
}

}  // namespace

sys::ThreadCall call_behind(const sys::FaultEvent& event, const std::vector<sys::ThreadCall>& calls) {
  sys::ThreadCall found;
  int count = 0;
  for (const sys::ThreadCall& call : calls)
    if (call.is_only || fits(event, call)) found = call, ++count;
  return count == 1 ? found : sys::ThreadCall();
}

uint32_t pages_more(const sys::FaultEvent& event, const sys::ThreadCall& call) {
  if (event.kind != sys::FaultEvent::Kind::remap || !fits(event, call) || call.arguments[2] <= call.arguments[1])
    return 0;
  return static_cast<uint32_t>(
      std::min<uint64_t>((call.arguments[2] - call.arguments[1] + kPage - 1) / kPage, 1U << 31));
}

}  // namespace mcr::mem
