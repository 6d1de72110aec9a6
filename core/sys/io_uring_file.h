// io_uring(7) from outside: a ring that another process has made, by a descriptor of ours. Throws Error unless said
// otherwise. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::sys {

// IORING_SETUP_*, newer than the headers or not.
inline constexpr uint32_t kRingOwnSize = 1u << 3;                                        // CQSIZE
inline constexpr uint32_t kRingDisabled = 1u << 6;                                       // R_DISABLED, 5.10
inline constexpr uint32_t kRingWideEntries = 1u << 10, kRingWideCompletions = 1u << 11;  // SQE128, CQE32: 5.19
inline constexpr uint32_t kRingNoArray = 1u << 16;                                       // NO_SQARRAY, 6.6

inline constexpr uint32_t kMostRingEntries = 32768;  // IORING_MAX_ENTRIES; twice as many completions

// What decides where things lie in the shared memory (struct io_rings and rings_size() in io_uring/io_uring.c). The
// kernel tells it to the maker alone (io_uring_setup(2)), but it has been so from the beginning on.
struct RingShape {
  uint32_t flags = 0, sq_entries = 0, cq_entries = 0;
  size_t array_offset() const;  // of the array of indices; where it would be, if there is none
  size_t ring_bytes() const;    // whole pages
  size_t entries_bytes() const;
};

// Words of the shared memory, by their offset.
enum class RingWord : size_t {
  taken = 0,       // sq.head: the kernel's
  submitted = 4,   // sq.tail: the program's
  consumed = 8,    // cq.head: the program's
  completed = 12,  // cq.tail: the kernel's
  sq_mask = 16,
  cq_mask = 20,
  sq_entries = 24,
  cq_entries = 28,
  dropped = 32,
  flags = 36
};

// Our mapping of it.
class RingMemory {
 public:
  RingMemory(int ring, const RingShape& shape);
  ~RingMemory();
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;
  std::span<std::byte> ring() const { return {static_cast<std::byte*>(ring_), shape_.ring_bytes()}; }
  std::span<std::byte> entries() const { return {static_cast<std::byte*>(entries_), shape_.entries_bytes()}; }
  uint32_t get(RingWord word) const;
  void set(RingWord word, uint32_t value);

 private:
  RingShape shape_;
  void* ring_ = nullptr;
  void* entries_ = nullptr;
};
bool reaches(int ring, uint64_t offset, size_t bytes);  // the memory at that offset has so many bytes
// Of the memory at IORING_OFF_SQ_RING; nullopt: it is the program's own (NO_MMAP, 6.5).
std::optional<size_t> find_ring_bytes(int ring, uint32_t sq_entries, uint32_t cq_entries);

struct RingManners {
  bool is_disabled = false;              // no submissions yet
  bool is_bound = false;                 // to the thread that made it (SINGLE_ISSUER): nothing more can be asked
  bool is_restricted = false;            // IORING_REGISTER_RESTRICTIONS
  bool has_eventfd = false;              // IORING_REGISTER_EVENTFD
  std::optional<uint32_t> buffer_group;  // one that has provided buffers, from Linux 6.8 on; others may have too
};
// Changes nothing. Looks for provided buffers in groups below `groups`.
RingManners examine_ring(int ring, uint32_t groups);

// What the kernel lists of it (fdinfo) if some submissions and one completion waited in it. That makes them wait for a
// moment: nobody may use the ring, and it is to be done apart (run_apart()).
std::string list_as_if_full(int ring, size_t ring_bytes);

// Submits `count` requests that do nothing, and takes their completions, so that its positions become `count`. It is
// new, and its memory all zeros.
void turn_ring(int ring, RingMemory& memory, const RingShape& shape, uint32_t count);

}  // namespace mcr::sys
