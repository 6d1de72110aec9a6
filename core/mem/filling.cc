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

std::vector<Vma>::const_iterator mapping_of(const RestoreMemory& memory, uint64_t address) {
  return std::ranges::partition_point(memory.vmas, [&](const Vma& m) { return m.end() <= address; });
}

bool is_private(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS || vma.kind() == Vma::PRIVATE_FILE;
}

}  // namespace

bool has_pages(const RestoreMemory& memory, const Vma& vma) {
  const auto run = run_behind(memory, vma.start());
  return (run != memory.runs.end() && run->shared() == 0 && run->start() < vma.end()) || has_inherited(memory, vma);
}

bool has_inherited(const RestoreMemory& memory, const Vma& vma) {
  const auto pages = std::ranges::partition_point(
      memory.inherited, [&](const image::InheritedPages& p) { return p.start() + p.bytes() <= vma.start(); });
  return pages != memory.inherited.end() && pages->start() < vma.end();
}

int filling_prot(const RestoreMemory& memory, const Vma& vma) {
  const int prot = static_cast<int>(vma.prot()), writable = prot | PROT_READ | PROT_WRITE;
  if (!is_private(vma)) return prot;
  if (has_vm_flag(vma, "ac")) return has_pages(memory, vma) || !(prot & PROT_WRITE) ? writable : prot;
  // What is not to be reserved is never accounted for.
  if (has_vm_flag(vma, "nr") && has_pages(memory, vma)) return writable;
  // Execute-only memory gets a protection key at once; it is to get it later, in its turn.
  return vma.protection_key() != 0 ? prot | PROT_READ : prot;
}

bool is_ready(const RestoreMemory& memory, uint64_t address) {
  const auto index = static_cast<size_t>(mapping_of(memory, address) - memory.vmas.begin());
  return index < memory.ready.size() && memory.ready[index];
}

bool is_late(const RestoreMemory& memory, uint64_t address) {
  if (memory.late.empty()) return false;
  const auto index = static_cast<size_t>(mapping_of(memory, address) - memory.vmas.begin());
  return index < memory.late.size() && memory.late[index];
}

bool is_filled_from_outside(const RestoreMemory& memory, const PageRun& run) {
  if (run.shared() != 0) return false;
  const auto vma = mapping_of(memory, run.start());
  return vma != memory.vmas.end() && !(vma->prot() & PROT_WRITE) && !(filling_prot(memory, *vma) & PROT_WRITE);
}

bool is_plain_memory(const Vma& vma) {
  constexpr std::string_view kOthers[] = {"lo", "gd", "wf", "dp", "sl", "io", "pf"};
  return vma.kind() == Vma::PRIVATE_ANONYMOUS && vma.huge_page_shift() == 0 && vma.name() != "[stack]" &&
         !vma.lazily_freed() && vma.guards().empty() &&
         std::ranges::none_of(kOthers, [&](std::string_view flag) { return has_vm_flag(vma, flag); });
}

bool fills_whole_blocks(const RestoreMemory& memory, const Vma& vma) {
  constexpr uint64_t kBlock = 2 << 20;
  if (!has_vm_flag(vma, "hg") || has_inherited(memory, vma)) return false;
  for (auto run = run_behind(memory, vma.start());
       run != memory.runs.end() && run->shared() == 0 && run->start() < vma.end();) {
    const uint64_t start = run->start();
    uint64_t end = start;  // of runs without a gap, wherever their content lies
    for (; run != memory.runs.end() && run->shared() == 0 && run->start() == end && end < vma.end(); ++run)
      end += run->bytes();
    // A block that does not lie in the mapping as a whole is made of small pages anyway.
    const uint64_t first = start / kBlock * kBlock, last = (end + kBlock - 1) / kBlock;
    if (first >= vma.start() && start != first) return false;
    if (last * kBlock <= vma.end() && end != last * kBlock) return false;
  }
  return true;
}

}  // namespace mcr::mem
