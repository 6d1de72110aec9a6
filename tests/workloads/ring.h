// A ring of io_uring(7) by system calls alone, with what the headers may lack.
#pragma once

#include <linux/io_uring.h>
#include <sys/mman.h>

#include <atomic>

#include "contract.h"

namespace workload {

class Ring {
 public:
  // false: this kernel has no io_uring, or not these flags.
  bool make(unsigned entries, unsigned flags) {
    params_.flags = flags;
    fd_ = static_cast<int>(syscall(SYS_io_uring_setup, entries, &params_));
    if (fd_ < 0) return false;
    sqe_bytes_ = flags & (1u << 10) ? 128 : 64;
    cqe_bytes_ = flags & (1u << 11) ? 32 : 16;
    has_array_ = !(flags & (1u << 16));
    size_t bytes = params_.cq_off.cqes + params_.cq_entries * cqe_bytes_;
    if (has_array_) bytes = params_.sq_off.array + params_.sq_entries * sizeof(unsigned);
    memory_ = map(bytes, IORING_OFF_SQ_RING);
    entries_ = map(params_.sq_entries * sqe_bytes_, IORING_OFF_SQES);
    return true;
  }
  int fd() const { return fd_; }

  // The next entry, prepared but not handed over yet. liburing keeps `tail_` in the program's memory too.
  io_uring_sqe& prepare(uint8_t opcode, uint64_t user_data) {
    const unsigned index = tail_ & (params_.sq_entries - 1);
    auto* entry = reinterpret_cast<io_uring_sqe*>(entries_ + index * sqe_bytes_);
    memset(entry, 0, sqe_bytes_);
    entry->opcode = opcode;
    entry->user_data = user_data;
    if (has_array_) reinterpret_cast<unsigned*>(memory_ + params_.sq_off.array)[index] = index;
    ++tail_;
    return *entry;
  }
  void publish() { word(params_.sq_off.tail).store(tail_); }
  unsigned unsubmitted() const { return tail_ - word(params_.sq_off.head).load(); }
  int submit(unsigned wait = 0) {
    publish();
    const long taken = syscall(SYS_io_uring_enter, fd_, unsubmitted(), wait, IORING_ENTER_GETEVENTS, nullptr, 0);
    return taken < 0 ? -errno : static_cast<int>(taken);
  }
  unsigned completed() const { return word(params_.cq_off.tail).load() - word(params_.cq_off.head).load(); }
  io_uring_cqe take() {
    if (completed() == 0) fail("no completion waits");
    const unsigned head = word(params_.cq_off.head).load();
    io_uring_cqe completion;
    memcpy(&completion, memory_ + params_.cq_off.cqes + (head & (params_.cq_entries - 1)) * cqe_bytes_, 16);
    word(params_.cq_off.head).store(head + 1);
    return completion;
  }
  void catch_up() { tail_ = word(params_.sq_off.tail).load(); }  // another process has used it
  // Requests that do nothing, one at a time.
  void turn(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      prepare(IORING_OP_NOP, i);
      if (submit(1) != 1 || take().user_data != i) fail("turn %u of a ring", i);
    }
  }
  void expect(uint64_t user_data, int result, int line) {
    const io_uring_cqe completion = take();
    if (completion.user_data != user_data || completion.res != result)
      fail("line %d: completion %llu of %d, not %llu of %d", line,
           static_cast<unsigned long long>(completion.user_data), completion.res,
           static_cast<unsigned long long>(user_data), result);
  }

 private:
  char* map(size_t bytes, uint64_t offset) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, static_cast<off_t>(offset));
    if (at == MAP_FAILED) fail("mmap of a ring: %s", strerror(errno));
    return static_cast<char*>(at);
  }
  std::atomic_ref<unsigned> word(unsigned offset) const {
    return std::atomic_ref<unsigned>(*reinterpret_cast<unsigned*>(memory_ + offset));
  }

  io_uring_params params_{};
  int fd_ = -1;
  size_t sqe_bytes_ = 0, cqe_bytes_ = 0;
  bool has_array_ = true;
  unsigned tail_ = 0;
  char *memory_ = nullptr, *entries_ = nullptr;
};

}  // namespace workload
