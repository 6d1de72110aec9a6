#include "core/sys/io_uring_file.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "core/sys/failure.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

constexpr size_t kPage = 4096, kCompletions = 64;  // where the completions begin

size_t whole_pages(size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

std::atomic_ref<uint32_t> word_at(void* ring, RingWord word) {
  return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(static_cast<char*>(ring) + static_cast<size_t>(word)));
}

// 0, or what went wrong.
int code_of_register(int ring, unsigned what, const void* argument, unsigned count) {
  return ::syscall(SYS_io_uring_register, ring, what, argument, count) < 0 ? errno : 0;
}

// A word of shared memory that has another value for a moment.
class Borrowed {
 public:
  Borrowed(void* ring, RingWord word, uint32_t value) : word_(word_at(ring, word)), before_(word_.load()) {
    word_.store(value);
  }
  ~Borrowed() { word_.store(before_); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;

 private:
  std::atomic_ref<uint32_t> word_;
  uint32_t before_;
};

void* map_ring(int ring, size_t bytes, uint64_t offset, int prot) {
  return ::mmap(nullptr, bytes, prot, MAP_SHARED, ring, static_cast<off_t>(offset));
}

// Of wide completions the kernel doubles what comes before them, too.
size_t completions_end(const RingShape& shape) {
  return (kCompletions + 16 * size_t{shape.cq_entries}) * (shape.flags & kRingWideCompletions ? 2 : 1);
}

}  // namespace

size_t RingShape::array_offset() const {
  return (completions_end(*this) + 63) / 64 * 64;
}
size_t RingShape::ring_bytes() const {
  return whole_pages(flags & kRingNoArray ? completions_end(*this) : array_offset() + sizeof(uint32_t) * sq_entries);
}
size_t RingShape::entries_bytes() const {
  return whole_pages((flags & kRingWideEntries ? 128 : 64) * size_t{sq_entries});
}

RingMemory::RingMemory(int ring, const RingShape& shape) : shape_(shape) {
  ring_ = map_ring(ring, shape.ring_bytes(), IORING_OFF_SQ_RING, PROT_READ | PROT_WRITE);
  if (ring_ == MAP_FAILED) throw_errno("mmap of a ring");
  entries_ = map_ring(ring, shape.entries_bytes(), IORING_OFF_SQES, PROT_READ | PROT_WRITE);
  if (entries_ != MAP_FAILED) return;
  const int code = errno;
  ::munmap(ring_, shape.ring_bytes());
  throw_code(code, "mmap of the entries of a ring");
}
RingMemory::~RingMemory() {
  ::munmap(ring_, shape_.ring_bytes());
  ::munmap(entries_, shape_.entries_bytes());
}
uint32_t RingMemory::get(RingWord word) const {
  return word_at(ring_, word).load();
}
void RingMemory::set(RingWord word, uint32_t value) {
  word_at(ring_, word).store(value);
}

bool reaches(int ring, uint64_t offset, size_t bytes) {
  void* memory = map_ring(ring, bytes, offset, PROT_READ);
  if (memory == MAP_FAILED) return false;
  ::munmap(memory, bytes);
  return true;
}

// Kernels from 6.10 on map all of it or nothing.
std::optional<size_t> find_ring_bytes(int ring, uint32_t sq_entries, uint32_t cq_entries) {
  for (const uint32_t flags : {kRingWideCompletions, kRingWideCompletions | kRingNoArray, 0U, kRingNoArray})
    if (const RingShape shape{flags, sq_entries, cq_entries}; reaches(ring, IORING_OFF_SQ_RING, shape.ring_bytes()))
      return shape.ring_bytes();
  return std::nullopt;
}

// Each question is one that the kernel refuses, or that has an answer but no effect (io_uring/register.c): an eventfd
// is refused with EBUSY before its number is read, and with EFAULT else.
RingManners examine_ring(int ring, uint32_t groups) {
  RingManners manners;
  io_uring_probe nothing{};
  const int probe = code_of_register(ring, IORING_REGISTER_PROBE, &nothing, 0);
  manners.is_bound = probe == EEXIST;
  manners.is_restricted = probe == EACCES;
  manners.is_disabled = ::syscall(SYS_io_uring_enter, ring, 0, 0, 0, nullptr, 0) < 0 && errno == EBADFD;
  if (manners.is_bound || manners.is_restricted) return manners;
  manners.has_eventfd = code_of_register(ring, IORING_REGISTER_EVENTFD, nullptr, 1) == EBUSY;
  constexpr unsigned kBufferStatus = 26;  // IORING_REGISTER_PBUF_STATUS, 6.8
  struct {
    uint32_t group = 0, head = 0, reserved[8] = {};
  } status;
  for (uint32_t group = 0; group < groups; ++group) {
    status = {.group = group};
    const int code = code_of_register(ring, kBufferStatus, &status, 1);
    if (code == ENOENT) continue;
    if (group == 0 && code == EINVAL) {  // an older kernel says so of all groups
      status = {.group = 0xffff};
      if (code_of_register(ring, kBufferStatus, &status, 1) == EINVAL) break;
    }
    manners.buffer_group = group;
    break;
  }
  return manners;
}

std::string list_as_if_full(int ring, size_t ring_bytes) {
  constexpr uint32_t kSome = 8;
  void* memory = map_ring(ring, ring_bytes, IORING_OFF_SQ_RING, PROT_READ | PROT_WRITE);
  if (memory == MAP_FAILED) throw_errno("mmap of a ring");
  std::optional<std::string> text;
  {
    const uint32_t entries = word_at(memory, RingWord::sq_entries).load();
    const Borrowed submitted(memory, RingWord::submitted,
                             word_at(memory, RingWord::taken).load() + std::min(entries, kSome));
    const Borrowed consumed(memory, RingWord::consumed, word_at(memory, RingWord::completed).load() - 1);
    text = try_read_text(fmt::format("/proc/self/fdinfo/{}", ring));
  }
  ::munmap(memory, ring_bytes);
  return text.value_or("");
}

// Entries and indices that are zeros are IORING_OP_NOP in the first place.
void turn_ring(int ring, RingMemory& memory, const RingShape& shape, uint32_t count) {
  for (uint32_t done = 0; done < count;) {
    const uint32_t some = std::min({count - done, shape.sq_entries, shape.cq_entries});
    memory.set(RingWord::submitted, done + some);
    const long taken = ::syscall(SYS_io_uring_enter, ring, some, 0, 0, nullptr, 0);
    if (taken < 0 && errno == EINTR) continue;
    check(taken, "io_uring_enter");
    done += static_cast<uint32_t>(taken);
    if (taken == 0 || memory.get(RingWord::completed) != done)
      throw Error(Fault::system, fmt::format("of {} requests that do nothing {} were completed", done,
                                             memory.get(RingWord::completed)));
    memory.set(RingWord::consumed, done);
  }
}

}  // namespace mcr::sys
