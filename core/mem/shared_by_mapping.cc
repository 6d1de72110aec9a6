#include "core/mem/shared_by_mapping.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/sys/file.h"

namespace mcr::mem {
namespace {

using image::Vma;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kWindow = 32768;  // pages asked about at once

[[noreturn]] void refuse_partial(const SharedObject& object) {
  throw Error(Fault::refused,
              fmt::format("the program has mapped only a part of its shared memory at {:#x}", object.map_start),
              "CAP_CHECKPOINT_RESTORE is the right that is missing to read the rest (mini-criu check, docs/rights.md)");
}

// The mapping of each part of the object, from its beginning, none twice.
std::vector<Vma> cover(const SharedObject& object, const std::vector<Vma>& vmas) {
  std::vector<Vma> mine;
  for (const Vma& vma : vmas)
    if (vma.kind() == Vma::SHARED_ANONYMOUS && vma.shared() == object.id) mine.push_back(vma);
  std::sort(mine.begin(), mine.end(), [](const Vma& a, const Vma& b) { return a.offset() < b.offset(); });
  std::vector<Vma> parts;
  uint64_t end = 0;
  for (Vma& vma : mine) {
    const uint64_t vma_end = vma.offset() + (vma.end() - vma.start());
    if (vma.offset() > end) refuse_partial(object);
    if (vma_end <= end) continue;
    vma.set_start(vma.start() + (end - vma.offset()));
    vma.set_offset(end);
    end = vma_end;
    parts.push_back(vma);
  }
  return parts;
}

bool reads(const trace::RemoteMemory& memory, uint64_t address) {
  std::byte byte;
  return memory.try_read(RemoteAddr(address), std::span(&byte, 1));
}

// Pages behind the end of the object cannot be read (SIGBUS for the program).
uint64_t readable_bytes(const trace::RemoteMemory& memory, const Vma& part) {
  uint64_t low = 0, high = (part.end() - part.start()) / kPage;  // pages below `low` can be read, those from `high` not
  if (reads(memory, part.end() - kPage)) return part.end() - part.start();
  while (low < high) {
    const uint64_t middle = (low + high) / 2;
    if (reads(memory, part.start() + middle * kPage))
      low = middle + 1;
    else
      high = middle;
  }
  return low * kPage;
}

// A second mapping, one page longer, shows whether the object goes on behind the program's mapping (mremap(2), old size
// of zero).
bool goes_on(inject::Channel& channel, const trace::RemoteMemory& memory, const Vma& last) {
  const uint64_t bytes = last.end() - last.start();
  inject::Batch batch = channel.batch();
  const size_t copy = batch.try_add("mremap", SYS_mremap, {last.start(), 0, bytes + kPage, MREMAP_MAYMOVE});
  channel.run(batch);
  if (batch.result(copy) < 0 && batch.result(copy) >= -4095) return false;  // no room: nor could the program
  const auto at = static_cast<uint64_t>(batch.result(copy));
  const bool more = reads(memory, at + bytes);
  batch.clear();
  batch.add("munmap", SYS_munmap, {at, bytes + kPage});
  channel.run(batch);
  return more;
}

// mincore(2) tells what is in memory; what is in swap it does not.
bool is_swap_in_use() {
  const auto text = sys::try_read_text("/proc/meminfo").value_or("");
  const auto value = [&](std::string_view key) -> uint64_t {
    const size_t at = text.find(key);
    return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + key.size(), nullptr, 10);
  };
  return value("SwapTotal:") != value("SwapFree:");
}

void select(inject::Channel& channel, const Vma& part, uint64_t bytes, std::vector<PageSource>& sources) {
  const bool readable = (part.prot() & PROT_READ) != 0;
  if (is_swap_in_use()) return sources.push_back({part.start(), bytes, readable});
  for (uint64_t at = part.start(); at < part.start() + bytes; at += kWindow * kPage) {
    const uint64_t size = std::min(kWindow * kPage, part.start() + bytes - at);
    inject::Batch batch = channel.batch();
    const RemoteAddr there = batch.reserve(kWindow);
    batch.add("mincore", SYS_mincore, {at, size, there.get()});
    channel.run(batch);
    for (uint64_t page = 0; page < size / kPage; ++page) {
      if (!(batch.get<uint8_t>(there + page) & 1)) continue;
      const uint64_t address = at + page * kPage;
      if (!sources.empty() && sources.back().start + sources.back().bytes == address && address != part.start())
        sources.back().bytes += kPage;
      else
        sources.push_back({address, kPage, readable});
    }
  }
}

}  // namespace

std::vector<image::PageRun> store_by_mappings(const SharedObject& object, const std::vector<Vma>& vmas,
                                              inject::Channel& channel, const trace::RemoteMemory& memory,
                                              PageWriter& writer, image::SharedMemory& message) {
  std::vector<image::PageRun> all;
  const std::vector<Vma> parts = cover(object, vmas);
  if (parts.empty()) refuse_partial(object);
  uint64_t size = 0;
  for (const Vma& part : parts) {
    const uint64_t bytes = readable_bytes(memory, part);
    std::vector<PageSource> sources;
    if (bytes != 0) select(channel, part, bytes, sources);
    size = part.offset() + bytes;
    for (image::PageRun& run : writer.write(sources)) {
      run.set_start(run.start() - part.start() + part.offset());
      run.set_shared(object.id);
      all.push_back(std::move(run));
    }
    if (bytes < part.end() - part.start()) break;
  }
  if (size == parts.back().offset() + (parts.back().end() - parts.back().start()) &&
      goes_on(channel, memory, parts.back()))
    refuse_partial(object);
  message.set_size(std::max(size, kPage));
  return all;
}

}  // namespace mcr::mem
