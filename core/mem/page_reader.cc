#include "core/mem/page_reader.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/store.h"

namespace mcr::mem {
namespace {

using image::PageRun;

constexpr uint64_t kBatchBytes = 32 << 20;
constexpr size_t kMaxVectors = 1024;

struct Group {  // runs that lie one behind the other in the file, with one preadv
  size_t first, count;
  uint64_t offset, bytes;
};

void check_run(const PageRun& run, std::span<const std::byte> file, const std::string& name) {
  if (run.offset() > file.size() || run.bytes() > file.size() - run.offset())
    throw Error(Fault::image, fmt::format("{}: a run at offset {} reaches beyond its end", name, run.offset()));
  if (run.chunk_bytes() == 0 || (run.bytes() + run.chunk_bytes() - 1) / run.chunk_bytes() != static_cast<uint64_t>(run.checksums_size()))
    throw Error(Fault::image, fmt::format("{}: a run at offset {} has the wrong number of checksums", name, run.offset()));
  uint64_t done = 0;
  for (const uint64_t expected : run.checksums()) {
    const uint64_t bytes = std::min<uint64_t>(run.chunk_bytes(), run.bytes() - done);
    if (images::checksum_of(file.data() + run.offset() + done, bytes) != expected)
      throw Error(Fault::image, fmt::format("{} at offset {}: checksum of {} bytes differs", name, run.offset() + done, bytes),
                  "the image is damaged: use another copy");
    done += bytes;
  }
}

std::vector<Group> group_runs(const RestoreMemory& memory) {
  std::vector<Group> groups;
  for (size_t i = 0; i < memory.runs.size(); ++i) {
    const PageRun& run = memory.runs[i];
    if (run.shared() != 0) continue;
    const bool fits = !groups.empty() && groups.back().count < kMaxVectors && groups.back().bytes < kBatchBytes &&
                      groups.back().first + groups.back().count == i &&
                      groups.back().offset + groups.back().bytes == run.offset();
    if (!fits) groups.push_back({i, 0, run.offset(), 0});
    ++groups.back().count;
    groups.back().bytes += run.bytes();
  }
  return groups;
}

void add_read(inject::Batch& batch, const RestoreMemory& memory, const Group& group) {
  std::vector<iovec> parts;
  for (size_t i = 0; i < group.count; ++i) {
    const PageRun& run = memory.runs[group.first + i];
    parts.push_back({reinterpret_cast<void*>(run.start()), run.bytes()});
  }
  const RemoteAddr vector = batch.put(std::as_bytes(std::span(parts)));
  batch.add("preadv", SYS_preadv, {static_cast<uint64_t>(memory.remote_pages_fd), vector.get(), parts.size(), group.offset, 0});
}

}  // namespace

uint64_t fill_pages(inject::NewProcess& process, const RestoreMemory& memory) {
  const Step step("fill pages");
  const sys::FileMapping file(memory.pages_fd, sys::stat_fd(memory.pages_fd).st_size);
  for (const PageRun& run : memory.runs)
    if (run.shared() != 0) check_run(run, file.bytes(), memory.pages_name);
  const std::vector<Group> groups = group_runs(memory);
  uint64_t pages = 0;
  for (size_t next = 0; next < groups.size();) {
    inject::Batch batch = process.channel().batch();
    const size_t first = next;
    for (uint64_t bytes = 0; next < groups.size() && bytes < kBatchBytes && batch.has_room_for(groups[next].count * 16 + 256); ++next) {
      add_read(batch, memory, groups[next]);
      bytes += groups[next].bytes;
    }
    process.channel().start(batch);
    for (size_t g = first; g < next; ++g)
      for (size_t i = 0; i < groups[g].count; ++i) check_run(memory.runs[groups[g].first + i], file.bytes(), memory.pages_name);
    process.channel().finish(batch);
    for (size_t g = first; g < next; ++g) {
      if (batch.result(g - first) != static_cast<int64_t>(groups[g].bytes))
        throw Error(Fault::image, fmt::format("{}: {} of {} bytes at offset {}", memory.pages_name, batch.result(g - first), groups[g].bytes, groups[g].offset));
      pages += groups[g].bytes / 4096;
    }
  }
  return pages;
}

}  // namespace mcr::mem
