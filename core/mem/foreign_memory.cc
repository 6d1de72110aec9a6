#include "core/mem/foreign_memory.h"

#include "core/base/error.h"

namespace mcr::mem {
namespace {

struct Foreign {
  std::string_view path;  // how it begins
  const char* what;
  const char* remedy;
};

constexpr Foreign kForeign[] = {
    {"/secretmem", "memory of memfd_secret(2) cannot be read by anybody but the program",
     "let the program unmap it before the dump"},
    {"anon_inode:[perf_event]", "the ring of a performance event (perf_event_open(2)) cannot be saved",
     "end the profiling, or let the program unmap it"},
    {"anon_inode:bpf-map", "a map of BPF, which belongs to the kernel, cannot be saved", "let the program unmap it"},
    {"anon_inode:bpf_ringbuf", "a ring of BPF cannot be saved", "let the program unmap it"},
    {"anon_inode:kvm-vcpu", "a virtual processor of KVM cannot be saved", "save the virtual machine by its own means"},
    {"anon_inode:[kvm-", "memory of KVM cannot be saved", "save the virtual machine by its own means"},
    {"socket:", "the ring of a packet or XDP socket cannot be saved", "let the program close that socket"},
    {"/dmabuf:", "a DMA buffer, which is memory of a device, cannot be saved", "let the program close the device"},
    {"dmabuf:", "a DMA buffer, which is memory of a device, cannot be saved", "let the program close the device"},
    {"anon_inode:", "this kind of memory cannot be saved", "let the program unmap it before the dump"},
};

}  // namespace

void refuse_foreign_memory(const procfs::Mapping& m) {
  for (const Foreign& foreign : kForeign)
    if (m.path.starts_with(foreign.path))
      throw Error(Fault::refused, fmt::format("mapping {:#x}-{:#x} {}: {}", m.start, m.end, m.path, foreign.what),
                  foreign.remedy);
}

}  // namespace mcr::mem
