// Three processes that outlive the engine: one works, one stands by, and one watches over both. They have one table of
// descriptors: what they hold stays open while any of them lives, and what one opens the others have in the same
// instant. The first two make each other anew, and the third does when both are gone; any two may be killed at once.
// Their state must lie in memory that all share, and be whole at every instruction. Main thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace mcr::sys {

// Zeros, shared with all children of this process (MAP_SHARED); takes memory where it is written to.
class SharedMemory {
 public:
  explicit SharedMemory(size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_;
  size_t bytes_;
};

struct TrioState {  // in shared memory
  std::atomic<uint32_t> is_done, restarts;
  int worker, standby, guard;  // pidfds; 0 or -1: none
};

// With the worker: who stands by for it.
class Partner {
 public:
  Partner(const TrioState& state, const std::vector<int>& keep, std::function<void()> make)
      : state_(state), keep_(keep), make_(std::move(make)) {}
  int pidfd() const { return state_.standby; }  // readable: it is dead
  void make_anew() { make_(); }
  // What those that were killed had opened, but for what both had at first. When nothing else has been opened yet.
  void close_all_but(std::vector<int> kept) const;

 private:
  const TrioState& state_;
  const std::vector<int>& keep_;
  std::function<void()> make_;
};

using Serve = std::function<void(Partner&)>;
// Starts them in a session of their own, orphans, all signals blocked, called `name`, `name`2 and `name`3. All
// descriptors are closed there but `keep`; 0 to 2 are /dev/null. `serve` runs in one of them, and again in another when
// that one was killed; its return is the end of all.
void start_service_trio(TrioState& state, const char* name, std::vector<int> keep, const Serve& serve);

}  // namespace mcr::sys
