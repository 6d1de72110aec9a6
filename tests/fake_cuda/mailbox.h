// The way from whoever calls cuCheckpointProcess*() to the thread in the CUDA process that does it: one page of a file,
// which both have mapped. It stands for the channel that a real driver has in the kernel.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace fake_cuda {

enum class Request : uint32_t { none, state, lock, checkpoint, restore, unlock };

struct Pair {
  unsigned char old_uuid[16], new_uuid[16];
};

struct Mailbox {
  std::atomic<uint32_t> knock;   // futex: counts requests
  std::atomic<uint32_t> answer;  // futex: the number of the request that was answered last
  Request request;
  uint32_t timeout_ms;
  int32_t result;
  int32_t restore_thread;
  int32_t last_state;  // when the thread was last asked
  uint32_t pair_count;
  Pair pairs[16];
};

// All of the stand-in lives in the folder $FAKE_CUDA_DIR: "devices", "nvidiaN", "control-PID", "memory-PID-N",
// "faults", "calls".
std::string folder();
std::string mailbox_path(int pid);
Mailbox* map_mailbox(const std::string& path, bool create);  // null: it is not there

void futex_wait(std::atomic<uint32_t>& word, uint32_t value, int timeout_ms);  // 0: for ever
void futex_wake(std::atomic<uint32_t>& word);

}  // namespace fake_cuda
