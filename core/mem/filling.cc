#include "core/mem/filling.h"

#include <sys/mman.h>

#include <algorithm>

#include "core/mem/vma_flags.h"

namespace mcr::mem {
namespace {

using image::PageRun;
using image::Vma;
using Runs = std::vector<PageRun>::const_iterator;

// The first run of private memory that ends behind the address. Those of shared objects come last.
Runs run_behind(const RestoreMemory& memory, uint64_t address) {
  return std::partition_point(memory.runs.begin(), memory.runs.end(), [&](const PageRun& run) {
    return run.shared() == 0 && run.start() + run.bytes() <= address;
  });
}

bool is_private(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS || vma.kind() == Vma::PRIVATE_FILE;
}

}  // namespace

bool has_runs(const RestoreMemory& memory, const Vma& vma) {
  const auto run = run_behind(memory, vma.start());
  return run != memory.runs.end() && run->shared() == 0 && run->start() < vma.end();
}

int filling_prot(const RestoreMemory& memory, const Vma& vma) {
  const int prot = static_cast<int>(vma.prot()), writable = prot | PROT_READ | PROT_WRITE;
  if (!is_private(vma)) return prot;
  if (has_vm_flag(vma, "ac")) return has_runs(memory, vma) || !(prot & PROT_WRITE) ? writable : prot;
  // What is not to be reserved is never accounted for.
  if (has_vm_flag(vma, "nr") && has_runs(memory, vma)) return writable;
  // Execute-only memory gets a protection key at once; it is to get it later, in its turn.
  return vma.protection_key() != 0 ? prot | PROT_READ : prot;
}

bool is_filled_from_outside(const RestoreMemory& memory, const PageRun& run) {
  if (run.shared() != 0) return false;
  const auto vma = std::partition_point(memory.vmas.begin(), memory.vmas.end(),
                                        [&](const Vma& m) { return m.end() <= run.start(); });
  return vma != memory.vmas.end() && !(vma->prot() & PROT_WRITE) && !(filling_prot(memory, *vma) & PROT_WRITE);
}

bool fills_whole_blocks(const RestoreMemory& memory, const Vma& vma) {
  constexpr uint64_t kBlock = 2 << 20;
  if (!has_vm_flag(vma, "hg")) return false;
  for (auto run = run_behind(memory, vma.start());
       run != memory.runs.end() && run->shared() == 0 && run->start() < vma.end(); ++run) {
    // A block that does not lie in the mapping as a whole is made of small pages anyway.
    const uint64_t first = run->start() / kBlock * kBlock, last = (run->start() + run->bytes() + kBlock - 1) / kBlock;
    if (first >= vma.start() && run->start() != first) return false;
    if (last * kBlock <= vma.end() && run->start() + run->bytes() != last * kBlock) return false;
  }
  return true;
}

}  // namespace mcr::mem
