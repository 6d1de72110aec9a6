#include "core/mem/sysv_segment.h"

#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/mem/vma_flags.h"
#include "core/sys/memory_object.h"

namespace mcr::mem {
namespace {

using image::Vma;

// Without VM_SHARED it was attached with SHM_RDONLY, and can never be made writable.
bool is_read_only(const Vma& vma) {
  return !has_vm_flag(vma, "sh");
}

class Attacher {
 public:
  Attacher(inject::NewProcess& process, const RestoreMemory& memory, int32_t id)
      : process_(process), memory_(memory), id_(id) {
    for (const Vma& vma : memory.vmas)
      if (vma.kind() == Vma::SYSV_SEGMENT && vma.segment() == id) vmas_.push_back(&vma);
  }

  void run() {
    const bool is_first = memory_.prepare_segment(id_);
    const uint64_t base = attach(0, false);
    if (is_first) fill(base);
    if (vmas_.front()->huge_page_shift() != 0)
      for (const Vma* vma : vmas_) attach(vma->start(), is_read_only(*vma));
    else
      copy_all(base);
    inject::Batch batch = process_.channel().batch();
    for (const Vma* vma : vmas_)
      batch.add("mprotect", SYS_mprotect, {vma->start(), vma->end() - vma->start(), vma->prot()});
    batch.add("shmdt", SYS_shmdt, {base});
    process_.channel().run(batch);
  }

 private:
  uint64_t attach(uint64_t address, bool read_only) {
    inject::Batch batch = process_.channel().batch();
    batch.add("shmat", SYS_shmat,
              {static_cast<uint64_t>(id_), address, read_only ? static_cast<uint64_t>(SHM_RDONLY) : 0});
    process_.channel().run(batch);
    return static_cast<uint64_t>(batch.result(0));
  }

  // One that was still there may hold anything: holes become zeros.
  void fill(uint64_t base) {
    inject::Batch batch = process_.channel().batch();
    batch.add("madvise(MADV_REMOVE)", SYS_madvise, {base, memory_.segment_bytes(id_), MADV_REMOVE});
    process_.channel().run(batch);
    memory_.fill_segment(id_, base);
  }

  // Attachments may lie in pieces, so each is a copy made by mremap with an old size of zero (mremap(2)), which counts
  // as an attachment of its own, like every piece. Those for reading only come from one that is for reading only.
  void copy_all(uint64_t base) {
    const bool has_read_only = std::any_of(vmas_.begin(), vmas_.end(), [](const Vma* v) { return is_read_only(*v); });
    const uint64_t read_only_base = has_read_only ? attach(0, true) : 0;
    inject::Batch batch = process_.channel().batch();
    for (const Vma* vma : vmas_) {
      const uint64_t from = (is_read_only(*vma) ? read_only_base : base) + vma->offset();
      batch.add("mremap", SYS_mremap,
                {from, 0, vma->end() - vma->start(), MREMAP_MAYMOVE | MREMAP_FIXED, vma->start()});
      if (batch.has_room_for(4096)) continue;
      process_.channel().run(batch);
      batch.clear();
    }
    if (has_read_only) batch.add("shmdt", SYS_shmdt, {read_only_base});
    process_.channel().run(batch);
  }

  inject::NewProcess& process_;
  const RestoreMemory& memory_;
  int32_t id_;
  std::vector<const Vma*> vmas_;
};

}  // namespace

bool is_sysv_segment(const procfs::Mapping& m) {
  return m.deleted && m.path.starts_with("/SYSV") && sys::is_kernel_memory(makedev(m.device_major, m.device_minor));
}

void attach_segments(inject::NewProcess& process, const RestoreMemory& memory) {
  std::set<int32_t> ids;
  for (const Vma& vma : memory.vmas)
    if (vma.kind() == Vma::SYSV_SEGMENT) ids.insert(vma.segment());
  for (const int32_t id : ids) {
    const Step step("attach System V segment {}", id);
    Attacher(process, memory, id).run();
  }
}

}  // namespace mcr::mem
