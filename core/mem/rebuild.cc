#include <fcntl.h>
#include <linux/mman.h>
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
#include "core/mem/sysv_segment.h"
#include "core/mem/vma_flags.h"
#include "core/sys/file.h"

namespace mcr::mem {
namespace {

using image::Vma;

constexpr uint64_t kLowest = 0x10000;           // mmap_min_addr
constexpr uint64_t kTaskSize = 0x7ffffffff000;  // 47 bits, the last page left out

int huge_page_flags(uint32_t shift) {
  return shift == 0 ? 0 : MAP_HUGETLB | static_cast<int>(shift << MAP_HUGE_SHIFT);
}

int map_flags(const Vma& vma) {
  constexpr int kDroppable = 0x08;  // MAP_DROPPABLE, 6.11: instead of MAP_PRIVATE
  int flags = MAP_FIXED;
  if (vma.kind() == Vma::PRIVATE_ANONYMOUS)
    flags |= MAP_ANONYMOUS | (has_vm_flag(vma, "dp") ? kDroppable : MAP_PRIVATE);
  if (vma.kind() == Vma::PRIVATE_FILE) flags |= MAP_PRIVATE;
  if (vma.kind() == Vma::SHARED_FILE) flags |= MAP_SHARED;
  if (has_vm_flag(vma, "gd")) flags |= MAP_GROWSDOWN;
  if (has_vm_flag(vma, "nr")) flags |= MAP_NORESERVE;
  if (vma.kind() == Vma::PRIVATE_ANONYMOUS) flags |= huge_page_flags(vma.huge_page_shift());
  return flags;
}

// Anonymous huge pages have a file of their own; the pieces of one mapping share it.
bool continues_huge_pages(const Vma& before, const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS && before.kind() == vma.kind() && vma.huge_page_shift() != 0 &&
         before.huge_page_shift() == vma.huge_page_shift() && before.end() == vma.start() && vma.offset() != 0 &&
         before.offset() + (before.end() - before.start()) == vma.offset() &&
         has_vm_flag(before, "nr") == has_vm_flag(vma, "nr");
}

uint64_t end_of_huge_pages(const std::vector<Vma>& vmas, size_t first) {
  size_t last = first;
  while (last + 1 < vmas.size() && continues_huge_pages(vmas[last], vmas[last + 1])) ++last;
  return vmas[last].end();
}

bool is_mapped_here(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS || vma.kind() == Vma::PRIVATE_FILE || vma.kind() == Vma::SHARED_FILE;
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

// Anonymous shared memory has no name to open. It is made once at its full size, and every mapping of it is a copy
// made by mremap with an old size of zero (mremap(2)); the first one is dropped at the end. Huge pages cannot be copied
// so, but have a file that can be mapped, as other processes map all that this one makes.
class SharedObjectMapper {
 public:
  SharedObjectMapper(inject::NewProcess& process, const RestoreMemory& memory, const image::SharedMemory& object)
      : process_(process), memory_(memory), object_(object) {}

  void make_and_map() {
    const Step step("shared memory {}", object_.id());
    make();
    fill(process_, memory_, object_.id(), base_);
    memory_.lend_shared(object_, base_, base_ + bytes_);
    stretch();
    if (object_.huge_page_shift() != 0) open_huge();
    map_everywhere();
  }

  // What another process has made, open here as `file`.
  void map_borrowed(int file) {
    const Step step("shared memory {}", object_.id());
    file_ = process_.channel().send(std::span(&file, 1)).front();
    map_everywhere();
  }

 private:
  void map_everywhere() {
    CallQueue calls(process_.channel());
    for (const Vma& vma : memory_.vmas) {
      if (!is_mine(vma)) continue;
      calls.make_room();
      add_mapping(calls.batch(), vma);
      add_attributes(calls, vma, true);
    }
    if (bytes_ != 0) calls.batch().add("munmap", SYS_munmap, {base_, bytes_});
    if (file_ >= 0) calls.batch().add("close", SYS_close, {static_cast<uint64_t>(file_)});
    calls.run();
  }

  bool is_mine(const Vma& vma) const { return vma.kind() == Vma::SHARED_ANONYMOUS && vma.shared() == object_.id(); }

  int64_t call(const char* what, long number, std::initializer_list<uint64_t> args) {
    inject::Batch batch = process_.channel().batch();
    batch.add(what, number, args);
    process_.channel().run(batch);
    return batch.result(0);
  }

  // "nr" of its mappings: not to be counted against the memory there is, from the beginning.
  void make() {
    bytes_ = object_.size();
    int flags = MAP_SHARED | MAP_ANONYMOUS | huge_page_flags(object_.huge_page_shift());
    for (const Vma& vma : memory_.vmas)
      if (is_mine(vma) && has_vm_flag(vma, "nr")) flags |= MAP_NORESERVE;
    base_ = static_cast<uint64_t>(
        call("mmap", SYS_mmap, {0, bytes_, PROT_READ | PROT_WRITE, static_cast<uint64_t>(flags), ~0ULL, 0}));
  }

  // A mapping may reach beyond the end of its object (enlarged by mremap; /dev/zero mapped with an offset).
  void stretch() {
    uint64_t end = bytes_;
    for (const Vma& vma : memory_.vmas)
      if (is_mine(vma)) end = std::max(end, vma.offset() + (vma.end() - vma.start()));
    if (end == bytes_) return;
    base_ = static_cast<uint64_t>(call("mremap", SYS_mremap, {base_, bytes_, end, MREMAP_MAYMOVE}));
    bytes_ = end;
  }

  void open_huge() {
    const UniqueFd file =
        sys::open(fmt::format("/proc/{}/map_files/{:x}-{:x}", process_.pid(), base_, base_ + bytes_), O_RDWR);
    const int fd = file.get();
    file_ = process_.channel().send(std::span(&fd, 1)).front();
  }

  void add_mapping(inject::Batch& batch, const Vma& vma) const {
    const uint64_t bytes = vma.end() - vma.start();
    if (file_ >= 0) {
      const int flags = MAP_SHARED | MAP_FIXED | (has_vm_flag(vma, "nr") ? MAP_NORESERVE : 0);
      batch.add(
          "mmap", SYS_mmap,
          {vma.start(), bytes, vma.prot(), static_cast<uint64_t>(flags), static_cast<uint64_t>(file_), vma.offset()});
      return;
    }
    batch.add("mremap", SYS_mremap, {base_ + vma.offset(), 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, vma.start()});
    batch.add("mprotect", SYS_mprotect, {vma.start(), bytes, vma.prot()});
  }

  inject::NewProcess& process_;
  const RestoreMemory& memory_;
  const image::SharedMemory& object_;
  uint64_t base_ = 0, bytes_ = 0;
  int file_ = -1;
};

}  // namespace

uint64_t find_hole(const std::vector<procfs::Mapping>& ours, const std::vector<Vma>& wanted, uint64_t bytes) {
  std::vector<AddressRange> taken;
  taken.reserve(ours.size() + wanted.size());
  for (const auto& m : ours) taken.push_back({m.start, m.end});
  for (const auto& vma : wanted) taken.push_back({vma.start(), vma.end()});
  return find_hole(std::move(taken), bytes);
}

uint64_t find_hole(std::vector<AddressRange> taken, uint64_t bytes) {
  std::ranges::sort(taken, {}, &AddressRange::start);
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
void drop_inherited_mappings(inject::NewProcess& process, const std::vector<procfs::Mapping>& kernel_pages,
                             std::vector<AddressRange> keep) {
  const Step step("drop inherited mappings");
  keep.push_back({process.region_start(), process.region_end()});
  for (const auto& m : kernel_pages) keep.push_back({m.start, m.end});
  std::ranges::sort(keep, {}, &AddressRange::start);
  CallQueue calls(process.channel());
  const auto& rseq = process.inherited_rseq();
  constexpr uint64_t kUnregister = 1;  // RSEQ_FLAG_UNREGISTER: the kernel must not write to memory that goes away
  if (rseq.address != 0) calls.batch().add("rseq", SYS_rseq, {rseq.address, rseq.size, kUnregister, rseq.signature});
  uint64_t from = kLowest;
  for (const auto& [start, end] : keep) {
    calls.make_room();
    if (start > from) calls.batch().add("munmap", SYS_munmap, {from, start - from});
    from = end;
  }
  calls.batch().add("munmap", SYS_munmap, {from, kTaskSize - from});
  calls.run();
}

namespace {

// One that the process was born with has the attributes of the mapping that it was cloned from.
void take_over(CallQueue& calls, const RestoreMemory& memory, const Vma& vma) {
  const uint64_t bytes = vma.end() - vma.start();
  calls.batch().add("mprotect", SYS_mprotect, {vma.start(), bytes, static_cast<uint64_t>(filling_prot(memory, vma))});
}

void map_private(CallQueue& calls, const RestoreMemory& memory, size_t i, uint64_t fd) {
  const Vma& vma = memory.vmas[i];
  const auto prot = static_cast<uint64_t>(filling_prot(memory, vma));
  if (i > 0 && continues_huge_pages(memory.vmas[i - 1], vma))
    calls.batch().add("mprotect", SYS_mprotect, {vma.start(), vma.end() - vma.start(), prot});
  else
    calls.batch().add(
        "mmap", SYS_mmap,
        {vma.start(), end_of_huge_pages(memory.vmas, i) - vma.start(), prot, static_cast<uint64_t>(map_flags(vma)), fd,
         vma.kind() == Vma::PRIVATE_ANONYMOUS ? 0 : vma.offset()});
  add_attributes(calls, vma, fills_whole_blocks(memory, vma));
}

uint64_t file_of(const RestoreMemory& memory, const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS ? ~0ULL : static_cast<uint64_t>(memory.files.at(vma.file()));
}

bool is_set(const std::vector<bool>& flags, size_t i) {
  return i < flags.size() && flags[i];
}

}  // namespace

void map_for_children(inject::NewProcess& process, const RestoreMemory& memory) {
  const Step step("map what children inherit");
  CallQueue calls(process.channel());
  for (size_t i = 0; i < memory.vmas.size(); ++i) {
    if (is_set(memory.ready, i)) continue;
    calls.make_room();
    if (is_set(memory.born_with, i))
      take_over(calls, memory, memory.vmas[i]);
    else
      map_private(calls, memory, i, file_of(memory, memory.vmas[i]));
  }
  calls.run();
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
    if (!is_set(memory.ready, i)) {
      if (is_set(memory.born_with, i))
        take_over(calls, memory, vma);
      else
        map_private(calls, memory, i, fd);
    }
    if (separations[i].odd && !is_file)
      calls.batch().add("madvise", SYS_madvise, {vma.start(), vma.end() - vma.start(), MADV_DONTFORK});
  }
  calls.run();
  for (const image::SharedMemory& object : memory.shared) SharedObjectMapper(process, memory, object).make_and_map();
  for (const auto& [object, file] : memory.borrowed) SharedObjectMapper(process, memory, object).map_borrowed(file);
  attach_segments(process, memory);
}

void add_memory_map(inject::Batch& batch, const image::MemoryMap& map, int remote_exe_fd) {
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
}

}  // namespace mcr::mem
