#include "core/engine/rings.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <set>
#include <thread>

#include "core/base/error.h"
#include "core/kinds/io_uring.h"
#include "core/sys/file.h"

namespace mcr::engine {
namespace {

using namespace std::chrono_literals;

void await_ring(int ring, const sys::Deadline& deadline) {
  while (!kinds::is_ring_idle(ring)) {
    if (deadline && sys::Clock::now() > *deadline) return;  // its kind refuses it, with the reason
    std::this_thread::sleep_for(1ms);
  }
}

template <typename Visit>
void for_each_ring(HostPid pid, const kinds::OpenFiles& files, int pidfd, const Visit& visit) {
  const auto views = files.views().find(pid);
  if (views == files.views().end()) return;
  for (const kinds::FileView& file : views->second) {
    if (file.link != kinds::kRingLink) continue;
    const Step step("fd {} {}", file.fd, file.link);
    const auto copy = sys::try_get_fd(pidfd, file.fd);
    if (copy) visit(copy->get());
  }
}

struct Hole {
  uint64_t start = 0, end = 0;
};
constexpr uint64_t kPage = 4096, kLowest = 0x10000;  // mmap_min_addr
constexpr uint64_t kTaskSize = 0x7ffffffff000;       // 47 bits, the last page left out

std::vector<Hole> holes_between(const std::vector<procfs::Mapping>& mappings) {
  std::vector<Hole> holes{{kPage, kLowest}};
  uint64_t from = kLowest;
  for (const procfs::Mapping& m : mappings) {
    if (m.start >= kTaskSize) break;  // [vsyscall]
    if (m.start < kLowest) holes.front().end = std::min(holes.front().end, m.start);
    if (m.start > from) holes.push_back({from, m.start});
    from = std::max(from, m.end);
  }
  if (from < kTaskSize) holes.push_back({from, kTaskSize});
  std::erase_if(holes, [](const Hole& hole) { return hole.start >= hole.end; });
  return holes;
}

template <typename Add>
void in_batches(inject::NewProcess& process, const std::vector<Hole>& holes, const Add& add) {
  inject::Batch batch = process.channel().batch();
  for (const Hole& hole : holes) {
    if (!batch.has_room_for(256)) {
      process.channel().run(batch);
      batch.clear();
    }
    add(batch, hole);
  }
  process.channel().run(batch);
}

bool has_rings(HostPid pid, const kinds::OpenFiles& files) {
  const auto views = files.views().find(pid);
  return views != files.views().end() &&
         std::ranges::any_of(views->second, [](const auto& file) { return file.link == kinds::kRingLink; });
}

}  // namespace

void look_at_rings(HostPid pid, const kinds::OpenFiles& files, const sys::Deadline& deadline) {
  if (!has_rings(pid, files)) return;
  const auto status = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", pid)));
  if (status.tgid != pid.get()) return;  // a thread stands for a leader that ended
  const UniqueFd pidfd = sys::open_pidfd(pid);
  for_each_ring(pid, files, pidfd.get(), [&](int ring) {
    kinds::refuse_unreadable_ring(ring, true);
    await_ring(ring, deadline);
    kinds::require_ring_at_rest(ring);
  });
}

void await_rings(HostPid pid, int pidfd, const kinds::OpenFiles& files, const sys::Deadline& deadline) {
  for_each_ring(pid, files, pidfd, [&](int ring) { await_ring(ring, deadline); });
}

void refuse_registered_rings(inject::Channel& channel, HostPid pid, const kinds::OpenFiles& files) {
  if (!has_rings(pid, files)) return;
  constexpr uint64_t kNumbers = 16, kRegisteredRing = 1 << 4;  // IO_RINGFD_REG_MAX, IORING_ENTER_REGISTERED_RING
  inject::Batch batch = channel.batch();
  for (uint64_t number = 0; number < kNumbers; ++number)  // nothing is submitted, nothing awaited
    batch.try_add("io_uring_enter", SYS_io_uring_enter, {number, 0, 0, kRegisteredRing, 0, 0});
  channel.run(batch);
  for (size_t i = 0; i < kNumbers; ++i)
    if (batch.result(i) >= 0)
      throw Error(Fault::refused,
                  fmt::format("a ring of io_uring is registered with its thread as number {} "
                              "(IORING_REGISTER_RING_FDS), and the kernel shows not which",
                              i),
                  "let the program unregister it (io_uring_unregister_ring_fd)");
}

uint32_t ring_of(const kinds::OpenFiles& files, ino_t inode) {
  std::set<uint32_t> ids;
  for (const auto& [pid, views] : files.views())
    for (const kinds::FileView& file : views)
      if (file.link == kinds::kRingLink && file.status.st_ino == inode) ids.insert(files.id_of(pid, file.fd));
  ids.erase(0);
  return ids.size() == 1 ? *ids.begin() : 0;
}

void throw_lost_ring(const procfs::Mapping& memory) {
  throw Error(Fault::refused,
              fmt::format("mapping {:#x}-{:#x}: rings of io_uring are known by their descriptors, and none leads to "
                          "this one",
                          memory.start, memory.end),
              "let the program unmap it, or keep its descriptor open");
}

void refuse_lost_ring(const kinds::OpenFiles& files, const procfs::Mapping& memory) {
  for (const auto& [pid, views] : files.views())
    for (const kinds::FileView& file : views)
      if (file.link == kinds::kRingLink && file.status.st_ino == memory.inode) return;
  throw_lost_ring(memory);
}

int place_ring(inject::NewProcess& process, kinds::OpenedFiles& files, uint32_t id, bool& made) {
  const Step step("object {} io_uring", id);
  const auto known = files.opened_late(id);
  made = !known;
  if (known) return take_ring(process, *known);
  const auto ring = kinds::body_of<image::IoUring>(files.object(id));
  std::string parameters = kinds::ring_parameters(ring);
  inject::Batch batch = process.channel().small_batch();
  const RemoteAddr at = batch.put(std::as_bytes(std::span(parameters)));
  const size_t call = batch.add("io_uring_setup", SYS_io_uring_setup, {ring.sq_entries(), at.get()});
  process.channel().run(batch);
  const auto completed = batch.get<io_uring_params>(at);
  parameters.assign(reinterpret_cast<const char*>(&completed), sizeof completed);
  const int fd = static_cast<int>(batch.result(call));
  UniqueFd copy = sys::get_fd(process.pidfd(), fd);
  kinds::fill_ring(copy.get(), ring, parameters);
  files.keep_late(id, std::move(copy));
  return fd;
}

// The kernel maps a ring where it likes and nowhere else, neither by MAP_FIXED nor by mremap(2)
// (io_uring_get_unmapped_area(), 6.5). It likes a place that is free, so all other places are taken for a moment.
void map_rings(inject::NewProcess& process, const std::vector<RingMapping>& mappings) {
  if (mappings.empty()) return;
  const Step step("memory of rings");
  constexpr uint64_t kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE;
  const auto holes = holes_between(procfs::parse_maps(sys::read_text(fmt::format("/proc/{}/maps", process.pid()))));
  in_batches(process, holes, [&](inject::Batch& batch, const Hole& hole) {
    if (hole.start < kLowest)  // CAP_SYS_RAWIO; without it nothing can be mapped there
      batch.try_add("mmap", SYS_mmap, {hole.start, hole.end - hole.start, PROT_NONE, kFlags, ~0ULL, 0});
    else
      batch.add("mmap", SYS_mmap, {hole.start, hole.end - hole.start, PROT_NONE, kFlags, ~0ULL, 0});
  });
  for (const RingMapping& m : mappings) {
    inject::Batch batch = process.channel().small_batch();
    batch.add("munmap", SYS_munmap, {m.start, m.bytes});
    const size_t call =
        batch.add("mmap", SYS_mmap, {0, m.bytes, m.prot, MAP_SHARED, static_cast<uint64_t>(m.fd), m.offset});
    process.channel().run(batch);
    if (static_cast<uint64_t>(batch.result(call)) != m.start)
      throw Error(Fault::system, fmt::format("the memory of a ring was mapped at {:#x} instead of {:#x}",
                                             batch.result(call), m.start));
  }
  in_batches(process, holes, [&](inject::Batch& batch, const Hole& hole) {
    batch.add("munmap", SYS_munmap, {hole.start, hole.end - hole.start});
  });
}

int take_ring(inject::NewProcess& process, int ring) {
  const UniqueFd self = sys::open_pidfd(HostPid(sys::own_pid()));
  const int fd = self.get();
  const auto remote = static_cast<uint64_t>(process.channel().send(std::span(&fd, 1)).front());
  inject::Batch batch = process.channel().small_batch();
  const size_t call = batch.add("pidfd_getfd", SYS_pidfd_getfd, {remote, static_cast<uint64_t>(ring), 0});
  batch.add("close", SYS_close, {remote});
  process.channel().run(batch);
  return static_cast<int>(batch.result(call));
}

void register_buffers(inject::NewProcess& process, const image::FileObject& object, int fd) {
  const auto ring = kinds::body_of<image::IoUring>(object);
  if (ring.buffers_size() == 0) return;
  const Step step("object {} io_uring", object.id());
  std::vector<iovec> buffers;
  for (const auto& buffer : ring.buffers())
    buffers.push_back({reinterpret_cast<void*>(buffer.bytes() ? buffer.address() : 0), buffer.bytes()});
  inject::Batch batch = process.channel().batch();
  batch.add("io_uring_register(IORING_REGISTER_BUFFERS)", SYS_io_uring_register,
            {static_cast<uint64_t>(fd), IORING_REGISTER_BUFFERS, batch.put(std::as_bytes(std::span(buffers))).get(),
             buffers.size()});
  process.channel().run(batch);
}

}  // namespace mcr::engine
