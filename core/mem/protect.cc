// The last steps of a mapping, after its pages are there.
#include <sys/mman.h>
#include <sys/syscall.h>

#include "core/base/error.h"
#include "core/mem/address_space.h"
#include "core/mem/filling.h"
#include "core/mem/guard_marks.h"
#include "core/mem/neighbours.h"
#include "core/mem/protection_keys.h"
#include "core/mem/vma_flags.h"
#include "core/sys/failure.h"
#include "core/trace/remote_memory.h"

namespace mcr::mem {
namespace {

using image::Vma;

constexpr uint64_t kGuardInstall = 102;  // MADV_GUARD_INSTALL, 6.13
constexpr long kMseal = 462;             // SYS_mseal, 6.10

bool is_the_kernels(const Vma& vma) {
  return vma.kind() == Vma::VDSO || vma.kind() == Vma::VVAR || vma.kind() == Vma::VSYSCALL;
}

// Whether it had pages once, as its accounting shows: what cannot be written and was never touched is not accounted for
// (mprotect_fixup() of mm/mprotect.c).
bool was_touched(const Vma& vma) {
  return has_vm_flag(vma, "ac") && !(vma.prot() & PROT_WRITE);
}

// Gives those that need it an anon_vma of their own (neighbours.h), then takes back what kept them apart so far. A page
// that is only made for this goes again at once.
void separate(inject::NewProcess& process, const RestoreMemory& memory) {
  const std::vector<Separation> separations = find_separations(memory.vmas);
  inject::Batch batch = process.channel().batch();
  const trace::RemoteMemory target(process.pid());
  const auto each = [&](const auto& act) {
    for (size_t i = 0; i < separations.size(); ++i) {
      const Vma& vma = memory.vmas[i];
      if (vma.kind() != Vma::PRIVATE_ANONYMOUS || !(separations[i].needed || was_touched(vma))) continue;
      act(vma, separations[i].odd);
      if (batch.has_room_for(4096)) continue;
      process.channel().run(batch);
      batch.clear();
    }
    if (!batch.empty()) process.channel().run(batch);
    batch.clear();
  };
  each([&](const Vma& vma, bool) {
    if (has_pages(memory, vma)) return;
    const std::byte zero{0};
    target.write(RemoteAddr(vma.start()), std::span(&zero, 1));
    batch.add("madvise", SYS_madvise, {vma.start(), vma.end() - vma.start(), MADV_DONTNEED});
  });
  each([&](const Vma& vma, bool odd) {
    if (odd && !has_vm_flag(vma, "dc"))
      batch.add("madvise", SYS_madvise, {vma.start(), vma.end() - vma.start(), MADV_DOFORK});
  });
}

void add_protection(inject::Batch& batch, const RestoreMemory& memory, const Vma& vma, uint32_t execute_only) {
  const uint64_t bytes = vma.end() - vma.start();
  if (vma.protection_key() != 0 && vma.protection_key() != execute_only)
    batch.add("pkey_mprotect", SYS_pkey_mprotect, {vma.start(), bytes, vma.prot(), vma.protection_key()});
  else if (vma.kind() != Vma::SHARED_ANONYMOUS && filling_prot(memory, vma) != static_cast<int>(vma.prot()))
    batch.add("mprotect", SYS_mprotect, {vma.start(), bytes, vma.prot()});
}

// With MLOCK_ONFAULT first: that fails for want of rights only. The second call then makes the pages present, as far as
// they can be: it fails where memory cannot be read or a file ends, having set the mapping's state all the same.
void add_lock(inject::Batch& batch, const Vma& vma, std::vector<size_t>& may_lack_pages) {
  if (!has_vm_flag(vma, "lo")) return;
  constexpr uint64_t kOnFault = 1;  // MLOCK_ONFAULT
  const uint64_t bytes = vma.end() - vma.start();
  batch.add("mlock2", SYS_mlock2, {vma.start(), bytes, kOnFault});
  if (!has_vm_flag(vma, "lf")) may_lack_pages.push_back(batch.try_add("mlock", SYS_mlock, {vma.start(), bytes}));
}

void run(inject::NewProcess& process, inject::Batch& batch, std::vector<size_t>& may_lack_pages) {
  process.channel().run(batch);
  for (const size_t call : may_lack_pages)
    if (const int64_t result = batch.result(call); result < 0 && result != -ENOMEM)
      sys::throw_code(static_cast<int>(-result), "mlock");
  may_lack_pages.clear();
  batch.clear();
}

// MADV_FREE passes over pages that wait in a batch of another processor for their list, as those do that the kernel
// found in use or idle meanwhile (DAMON). migrate_pages(2) has all processors put them there, before it finds that no
// page is to go anywhere. Without NUMA there is no such call.
void add_drain(inject::Batch& batch) {
  const uint64_t node = 1;
  const uint64_t nodes = batch.put_value(node).get();
  batch.try_add("migrate_pages", SYS_migrate_pages, {0, 8, nodes, nodes});
}

void add_last_state(inject::Batch& batch, const RestoreMemory& memory, const Vma& vma) {
  const uint64_t bytes = vma.end() - vma.start();
  for (const int advice : advice_after_filling(vma, fills_whole_blocks(memory, vma)))
    batch.add("madvise", SYS_madvise, {vma.start(), bytes, static_cast<uint64_t>(advice)});
  // Asked for by PR_SET_MEMORY_MERGE, and not wanted here.
  if (memory.map.merge_any() && !has_vm_flag(vma, "mg"))
    batch.try_add("madvise(MADV_UNMERGEABLE)", SYS_madvise, {vma.start(), bytes, MADV_UNMERGEABLE});
  if (!vma.lazily_freed()) return;
  add_drain(batch);
  // The second call flushes what the first has left in the processor's batch of pages that change their list.
  for (const uint64_t size : {bytes, uint64_t{4096}})
    batch.add("madvise(MADV_FREE)", SYS_madvise, {vma.start(), size, MADV_FREE});
}

// Each step for all of them: as long as two neighbours have one protection they are one mapping, and what is said of
// one would be said of both.
void protect_each(inject::NewProcess& process, const RestoreMemory& memory, uint32_t execute_only) {
  inject::Batch batch = process.channel().batch();
  std::vector<size_t> may_lack_pages;
  const auto make_room = [&] {
    if (!batch.has_room_for(4096)) run(process, batch, may_lack_pages);
  };
  const auto each = [&](const auto& act) {
    for (const Vma& vma : memory.vmas) {
      if (is_the_kernels(vma)) continue;
      make_room();
      act(vma);
    }
    run(process, batch, may_lack_pages);
  };
  each([&](const Vma& vma) { add_protection(batch, memory, vma, execute_only); });
  make_guard_marks(process, memory);
  each([&](const Vma& vma) {
    add_last_state(batch, memory, vma);
    for (const auto& guard : vma.guards()) {
      make_room();
      batch.add("madvise(MADV_GUARD_INSTALL)", SYS_madvise, {guard.start(), guard.bytes(), kGuardInstall});
    }
    add_lock(batch, vma, may_lack_pages);
  });
}

void seal_all(inject::NewProcess& process, const RestoreMemory& memory) {
  inject::Batch batch = process.channel().batch();
  for (const Vma& vma : memory.vmas) {
    if (is_the_kernels(vma) || !has_vm_flag(vma, "sl")) continue;
    batch.add("mseal", kMseal, {vma.start(), vma.end() - vma.start(), 0});
    if (batch.has_room_for(4096)) continue;
    process.channel().run(batch);
    batch.clear();
  }
  // Without MCL_CURRENT it says what new mappings get and touches none of those that are there.
  if (memory.map.lock_future() != 0) batch.add("mlockall", SYS_mlockall, {memory.map.lock_future()});
  process.channel().run(batch);
}

}  // namespace

void protect_all(inject::NewProcess& process, const RestoreMemory& memory) {
  const Step step("protect");
  separate(process, memory);
  const bool has_keys = uses_protection_keys(memory.map, memory.vmas);
  const uint32_t execute_only = execute_only_key(memory.map, memory.vmas);
  if (has_keys) take_protection_keys(process, execute_only);
  protect_each(process, memory, execute_only);
  if (has_keys) release_protection_keys(process, memory.map.protection_keys(), execute_only);
  seal_all(process, memory);
}

}  // namespace mcr::mem
