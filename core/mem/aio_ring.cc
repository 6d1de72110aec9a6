#include "core/mem/aio_ring.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/sys/file.h"

namespace mcr::mem {
namespace {

using image::AioContext;
using image::Vma;

// The beginning of the ring, fs/aio.c. `id` is the context's place in the kernel's table and changes.
struct RingHeader {
  uint32_t id, capacity, head, tail, magic, compatible, incompatible, bytes;
};
static_assert(sizeof(RingHeader) == 32);
constexpr uint32_t kMagic = 0xa10a10a1;
constexpr uint64_t kPage = 4096;
constexpr uint32_t kMostAtOnce = 1024;

uint32_t capacity_of(uint64_t ring_bytes) {
  return static_cast<uint32_t>((ring_bytes - sizeof(RingHeader)) / sizeof(io_event));
}

// io_setup() doubles the number, adds two, and takes whole pages (aio_setup_ring): the smallest number that leads to
// such a ring.
uint32_t requests_for(uint64_t ring_bytes) {
  return ring_bytes <= kPage ? 1 : capacity_of(ring_bytes - kPage) / 2;
}

// It asks for four requests a processor at least.
uint64_t smallest_ring() {
  const std::string text = sys::read_text("/sys/devices/system/cpu/possible");  // "0-63"
  const size_t dash = text.find_last_of("-,");
  const uint64_t processors = std::stoul(text.substr(dash == std::string::npos ? 0 : dash + 1)) + 1;
  const uint64_t bytes = sizeof(RingHeader) + sizeof(io_event) * (processors * 4 * 2 + 2);
  return (bytes + kPage - 1) / kPage * kPage;
}

class ContextMaker {
 public:
  ContextMaker(inject::NewProcess& process, const AioContext& context, int null_file)
      : process_(process), context_(context), null_file_(null_file), capacity_(capacity_of(context.bytes())) {}

  void run() {
    const Step step("context of asynchronous I/O at {:#x}", context_.address());
    set_up();
    const uint32_t waiting = (context_.tail() + capacity_ - context_.head()) % capacity_;
    complete(context_.head(), true);
    complete(waiting, false);
    const RingHeader header = read_header(context_.address());
    if (header.head % capacity_ != context_.head() || header.tail != context_.tail())
      throw Error(Fault::system, fmt::format("its ring stands at {} and {} instead of {} and {}", header.head,
                                             header.tail, context_.head(), context_.tail()));
    trace::RemoteMemory(process_.pid())
        .write(RemoteAddr(context_.address() + sizeof header), std::as_bytes(std::span(context_.events())));
  }

 private:
  RingHeader read_header(uint64_t address) const {
    RingHeader header{};
    trace::RemoteMemory(process_.pid()).read(RemoteAddr(address), std::as_writable_bytes(std::span(&header, 1)));
    return header;
  }

  void set_up() {
    inject::Batch batch = process_.channel().batch();
    const RemoteAddr id = batch.reserve(sizeof(aio_context_t));
    batch.add("io_setup", SYS_io_setup, {requests_for(context_.bytes()), id.get()});
    process_.channel().run(batch);
    const auto ring = batch.get<uint64_t>(id);
    if (const RingHeader header = read_header(ring); header.capacity != capacity_)
      throw Error(Fault::refused,
                  fmt::format("its ring has room for {} events here, had {}", header.capacity, capacity_),
                  "restore on a machine with as many processors as at the dump");
    batch.clear();
    batch.add("mremap", SYS_mremap,
              {ring, context_.bytes(), context_.bytes(), MREMAP_MAYMOVE | MREMAP_FIXED, context_.address()});
    process_.channel().run(batch);
  }

  // The kernel alone moves the tail: requests that end at once, by reading nothing from /dev/null, bring it there;
  // taking their events brings the head there.
  void complete(uint32_t count, bool take) {
    const uint32_t most = std::min(kMostAtOnce, capacity_ / 4 + 1);
    while (count > 0) {
      const uint32_t some = std::min(count, most);
      inject::Batch batch = process_.channel().batch();
      iocb request{};
      request.aio_fildes = static_cast<uint32_t>(null_file_);
      request.aio_lio_opcode = IOCB_CMD_PREAD;
      const std::vector<uint64_t> requests(some, batch.put_value(request).get());
      const RemoteAddr list = batch.put(std::as_bytes(std::span(requests)));
      const size_t submit = batch.add("io_submit", SYS_io_submit, {context_.address(), some, list.get()});
      if (take) {
        const RemoteAddr events = batch.reserve(some * sizeof(io_event));
        batch.add("io_getevents", SYS_io_getevents, {context_.address(), some, some, events.get(), 0});
      }
      process_.channel().run(batch);
      if (batch.result(submit) != static_cast<int64_t>(some))
        throw Error(Fault::refused,
                    fmt::format("only {} of {} events fit into its ring here", batch.result(submit), some),
                    "restore on a machine with as many processors as at the dump");
      count -= some;
    }
  }

  inject::NewProcess& process_;
  const AioContext& context_;
  int null_file_;
  uint32_t capacity_;
};

// The kernel hands out requests in lots, one lot a processor at a time: on one processor none is left lying about.
class OnOneProcessor {
 public:
  explicit OnOneProcessor(HostTid tid) : tid_(tid), before_(sys::affinity_of(tid)) {
    std::vector<std::byte> one(before_.size());
    for (size_t i = 0; i < before_.size(); ++i) {
      const auto bits = std::to_integer<unsigned>(before_[i]);
      if (bits == 0) continue;
      one[i] = static_cast<std::byte>(bits & -bits);
      break;
    }
    sys::set_affinity(tid_, one);
  }
  void undo() const { sys::set_affinity(tid_, before_); }

 private:
  HostTid tid_;
  std::vector<std::byte> before_;
};

}  // namespace

bool is_aio_ring(const procfs::Mapping& m) {
  return m.shared && m.deleted && m.path == "/[aio]";
}

bool is_aio_ring(const Vma& vma) {
  return vma.kind() == Vma::AIO_RING;
}

AioContext collect_aio_context(const trace::RemoteMemory& memory, const Vma& ring) {
  AioContext context;
  context.set_address(ring.start());
  context.set_bytes(ring.end() - ring.start());
  std::string bytes(context.bytes(), '\0');
  memory.read(RemoteAddr(ring.start()), std::as_writable_bytes(std::span(bytes)));
  RingHeader header{};
  std::memcpy(&header, bytes.data(), sizeof header);
  if (ring.offset() != 0 || header.magic != kMagic || header.capacity != capacity_of(context.bytes()))
    throw Error(Fault::refused,
                fmt::format("only a part of the ring of asynchronous I/O at {:#x} is mapped", ring.start()),
                "let the program keep the rings that io_setup() made as they are");
  context.set_head(header.head % header.capacity);
  context.set_tail(header.tail % header.capacity);
  context.set_events(bytes.substr(sizeof header));
  return context;
}

void require_own_contexts(inject::Channel& channel, const std::vector<AioContext>& contexts) {
  if (contexts.empty()) return;
  inject::Batch batch = channel.batch();
  for (const AioContext& context : contexts)  // no events are asked for, none are taken
    batch.try_add("io_getevents", SYS_io_getevents, {context.address(), 0, 0, 0, 0});
  channel.run(batch);
  for (size_t i = 0; i < contexts.size(); ++i)
    if (batch.result(i) < 0)
      throw Error(
          Fault::refused,
          fmt::format("the ring of asynchronous I/O at {:#x} is that of another process", contexts[i].address()),
          "let the program unmap what it inherited");
}

void check_aio_contexts(const std::vector<AioContext>& contexts, std::vector<Problem>& problems) {
  if (contexts.empty()) return;
  const uint64_t smallest = smallest_ring();
  uint64_t requests = 0;
  for (const AioContext& context : contexts) {
    requests += requests_for(context.bytes());
    if (context.bytes() < smallest)
      problems.push_back({fmt::format("context of asynchronous I/O at {:#x}", context.address()),
                          fmt::format("has a ring of {} bytes, rings have {} here at least", context.bytes(), smallest),
                          "restore on a machine with as many processors as at the dump"});
  }
  const uint64_t used = std::stoull(sys::read_text("/proc/sys/fs/aio-nr"));
  const uint64_t limit = std::stoull(sys::read_text("/proc/sys/fs/aio-max-nr"));
  if (used + requests > limit)
    problems.push_back({"asynchronous I/O",
                        fmt::format("{} requests of {} are taken, {} more are needed", used, limit, requests),
                        "raise fs.aio-max-nr"});
}

void make_aio_contexts(inject::NewProcess& process, const std::vector<Vma>& vmas,
                       const std::vector<AioContext>& contexts) {
  if (contexts.empty()) return;
  const UniqueFd null = sys::open("/dev/null", O_RDONLY);
  const int fd = null.get();
  const int remote_null = process.channel().send(std::span(&fd, 1)).front();
  // Their places are taken, so that the kernel makes no ring where another one goes.
  inject::Batch batch = process.channel().batch();
  for (const AioContext& context : contexts)
    batch.add("mmap", SYS_mmap,
              {context.address(), context.bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ULL, 0});
  process.channel().run(batch);
  const OnOneProcessor one(process.leader().tid());
  for (const AioContext& context : contexts) ContextMaker(process, context, remote_null).run();
  one.undo();
  batch.clear();
  for (const Vma& vma : vmas)
    if (is_aio_ring(vma)) batch.add("mprotect", SYS_mprotect, {vma.start(), vma.end() - vma.start(), vma.prot()});
  batch.add("close", SYS_close, {static_cast<uint64_t>(remote_null)});
  process.channel().run(batch);
}

}  // namespace mcr::mem
