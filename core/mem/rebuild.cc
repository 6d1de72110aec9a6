#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/mem/address_space.h"
#include "core/mem/attributes.h"
#include "core/mem/filling.h"
#include "core/mem/neighbours.h"
#include "core/mem/page_reader.h"
#include "core/mem/vma_flags.h"

namespace mcr::mem {
namespace {

using image::Vma;

constexpr uint64_t kLowest = 0x10000;           // mmap_min_addr
constexpr uint64_t kTaskSize = 0x7ffffffff000;  // 47 bits, the last page left out

int map_flags(const Vma& vma) {
  constexpr int kDroppable = 0x08;  // MAP_DROPPABLE, 6.11: instead of MAP_PRIVATE
  int flags = MAP_FIXED;
  if (vma.kind() == Vma::PRIVATE_ANONYMOUS)
    flags |= MAP_ANONYMOUS | (has_vm_flag(vma, "dp") ? kDroppable : MAP_PRIVATE);
  if (vma.kind() == Vma::PRIVATE_FILE) flags |= MAP_PRIVATE;
  if (vma.kind() == Vma::SHARED_FILE) flags |= MAP_SHARED;
  if (has_vm_flag(vma, "gd")) flags |= MAP_GROWSDOWN;
  if (has_vm_flag(vma, "nr")) flags |= MAP_NORESERVE;
  return flags;
}

bool is_mapped_here(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS || vma.kind() == Vma::PRIVATE_FILE || vma.kind() == Vma::SHARED_FILE;
}

// Anonymous shared memory has no name to open. It is made once at its full size, and every mapping of it is a copy
// made by mremap with an old size of zero (mremap(2)); the first one is dropped at the end.
void map_shared_object(inject::NewProcess& process, const RestoreMemory& memory, const image::SharedMemory& object) {
  const Step step("shared memory {}", object.id());
  CallQueue calls(process.channel());
  const size_t made = calls.batch().add(
      "mmap", SYS_mmap, {0, object.size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, ~0ULL, 0});
  process.channel().run(calls.batch());
  const auto base = static_cast<uint64_t>(calls.batch().result(made));
  calls.batch().clear();
  fill(process, memory, object.id(), base);
  for (const Vma& vma : memory.vmas) {
    if (vma.kind() != Vma::SHARED_ANONYMOUS || vma.shared() != object.id()) continue;
    calls.make_room();
    const uint64_t bytes = vma.end() - vma.start();
    calls.batch().add("mremap", SYS_mremap,
                      {base + vma.offset(), 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, vma.start()});
    calls.batch().add("mprotect", SYS_mprotect, {vma.start(), bytes, vma.prot()});
    add_attributes(calls, vma, true);
  }
  calls.batch().add("munmap", SYS_munmap, {base, object.size()});
  calls.run();
}

// A second opening of the files that are mapped by neighbours which only that keeps apart (neighbours.h).
std::map<uint32_t, int> open_again(inject::NewProcess& process, const RestoreMemory& memory,
                                   const std::vector<Separation>& separations) {
  std::map<uint32_t, int> again;
  std::map<uint32_t, size_t> calls;
  inject::Batch batch = process.channel().batch();
  for (size_t i = 0; i < memory.vmas.size(); ++i) {
    const Vma& vma = memory.vmas[i];
    if (!separations[i].odd || vma.kind() == Vma::PRIVATE_ANONYMOUS || calls.contains(vma.file())) continue;
    const RemoteAddr path = batch.put_string(fmt::format("/proc/self/fd/{}", memory.files.at(vma.file())));
    const uint64_t how = vma.kind() == Vma::SHARED_FILE && has_vm_flag(vma, "mw") ? O_RDWR : O_RDONLY;
    calls[vma.file()] = batch.add("open a mapped file again", SYS_open, {path.get(), how | O_CLOEXEC, 0});
  }
  if (calls.empty()) return again;
  process.channel().run(batch);
  for (const auto& [file, call] : calls) again[file] = static_cast<int>(batch.result(call));
  return again;
}

}  // namespace

uint64_t find_hole(const std::vector<procfs::Mapping>& ours, const std::vector<Vma>& wanted, uint64_t bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> taken;
  for (const auto& m : ours) taken.emplace_back(m.start, m.end);
  for (const auto& vma : wanted) taken.emplace_back(vma.start(), vma.end());
  std::sort(taken.begin(), taken.end());
  constexpr uint64_t kMargin = 1 << 20;  // stack guard gaps, and room for mappings made meanwhile
  uint64_t free_from = 0x10000000;
  for (const auto& [start, end] : taken) {
    if (start > free_from && start - free_from >= bytes + 2 * kMargin) return free_from + kMargin;
    free_from = std::max(free_from, end);
  }
  if (free_from + bytes + 2 * kMargin < kTaskSize) return free_from + kMargin;
  throw Error(Fault::refused, fmt::format("no {} bytes of address space are free for the restore", bytes));
}

// Everything but the parasite and the kernel's own pages, which move later.
void drop_inherited_mappings(inject::NewProcess& process, const std::vector<procfs::Mapping>& ours) {
  const Step step("drop inherited mappings");
  std::vector<std::pair<uint64_t, uint64_t>> keep{{process.blob_start(), process.blob_end()}};
  for (const auto& m : ours)
    if (m.path == "[vdso]" || m.path.starts_with("[vvar")) keep.emplace_back(m.start, m.end);
  std::sort(keep.begin(), keep.end());
  inject::Batch batch = process.channel().batch();
  const auto& rseq = process.inherited_rseq();
  constexpr uint64_t kUnregister = 1;  // RSEQ_FLAG_UNREGISTER: the kernel must not write to memory that goes away
  if (rseq.address != 0) batch.add("rseq", SYS_rseq, {rseq.address, rseq.size, kUnregister, rseq.signature});
  uint64_t from = kLowest;
  for (const auto& [start, end] : keep) {
    if (start > from) batch.add("munmap", SYS_munmap, {from, start - from});
    from = end;
  }
  batch.add("munmap", SYS_munmap, {from, kTaskSize - from});
  process.channel().run(batch);
}

void map_all(inject::NewProcess& process, const RestoreMemory& memory) {
  const Step step("map");
  const std::vector<Separation> separations = find_separations(memory.vmas);
  const std::map<uint32_t, int> again = open_again(process, memory, separations);
  CallQueue calls(process.channel());
  constexpr uint64_t kSetMemoryMerge = 67;  // PR_SET_MEMORY_MERGE, 6.4
  if (memory.map.merge_any())
    calls.add_optional("prctl(PR_SET_MEMORY_MERGE)", SYS_prctl, {kSetMemoryMerge, 1, 0, 0, 0},
                       "new mappings will not be mergeable");
  for (size_t i = 0; i < memory.vmas.size(); ++i) {
    const Vma& vma = memory.vmas[i];
    if (!is_mapped_here(vma)) continue;
    calls.make_room();
    const bool is_file = vma.kind() != Vma::PRIVATE_ANONYMOUS;
    uint64_t fd = ~0ULL;
    if (is_file) fd = static_cast<uint64_t>((separations[i].odd ? again : memory.files).at(vma.file()));
    const uint64_t bytes = vma.end() - vma.start();
    calls.batch().add("mmap", SYS_mmap,
                      {vma.start(), bytes, static_cast<uint64_t>(filling_prot(memory, vma)),
                       static_cast<uint64_t>(map_flags(vma)), fd, is_file ? vma.offset() : 0});
    add_attributes(calls, vma, fills_whole_blocks(memory, vma));
    if (separations[i].odd && !is_file) calls.batch().add("madvise", SYS_madvise, {vma.start(), bytes, MADV_DONTFORK});
  }
  calls.run();
  for (const image::SharedMemory& object : memory.shared) map_shared_object(process, memory, object);
}

void set_memory_map(inject::NewProcess& process, const image::MemoryMap& map, int remote_exe_fd) {
  const Step step("memory map fields");
  inject::Batch batch = process.channel().batch();
  const RemoteAddr auxv = batch.put(std::as_bytes(std::span(map.auxv())));
  struct prctl_mm_map fields {};
  fields.start_code = map.start_code(), fields.end_code = map.end_code();
  fields.start_data = map.start_data(), fields.end_data = map.end_data();
  fields.start_brk = map.start_brk(), fields.brk = map.brk();
  fields.start_stack = map.start_stack();
  fields.arg_start = map.arg_start(), fields.arg_end = map.arg_end();
  fields.env_start = map.env_start(), fields.env_end = map.env_end();
  fields.auxv = reinterpret_cast<__u64*>(auxv.get());
  fields.auxv_size = static_cast<__u32>(map.auxv().size());
  fields.exe_fd = static_cast<__u32>(remote_exe_fd);
  const RemoteAddr at = batch.put_value(fields);
  batch.add("prctl(PR_SET_MM_MAP)", SYS_prctl, {PR_SET_MM, PR_SET_MM_MAP, at.get(), sizeof fields, 0});
  process.channel().run(batch);
}

}  // namespace mcr::mem
