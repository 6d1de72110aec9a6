// What the engine and the parasite agree on. Shared by parasite/ (freestanding) and core/inject. The parasite
// executes batches of system calls and nothing else; it knows no file, no image and no reason.
#pragma once

#include <stdint.h>

namespace mcr::parasite {

// One system call. Executed in order; a failing one ends the batch unless kMayFail is set.
struct Call {
  uint32_t number;
  uint32_t flags;
  uint64_t args[6];
  int64_t result;  // as the kernel returned it: -errno on failure
};
static_assert(sizeof(Call) == 64);

enum CallFlags : uint32_t {
  kMayFail = 1,  // the batch goes on whatever it returns
  // clone3 of a thread: args[5] holds the address of a ThreadBatch that the new thread executes and then sleeps.
  kSpawnThread = 2,
  // clone3 of a process: args[5] holds the number of a socket that the new process takes instead of ours, under the
  // number of ours. It forgets the rest of the batch and waits for its own.
  kSpawnProcess = 4,
  // With kSpawnProcess: the new process shares our table of descriptors, and its socket stays where it is.
  kSpawnSharingFiles = 8,
  // With kSpawnProcess: it shares our memory. Its socket stays where it is, too; args[2] holds the base of a mapping of
  // its own, where it enters the code. Its stack is in the clone_args.
  kSpawnSharingMemory = 16,
  // clone of a process that shares our memory and our descriptors; args[5]: the flags with which that makes another
  // one, with a copy of the memory, before it ends. The copy has left our descriptors and our session, and ends by
  // itself as soon as it runs. The first one is waited for; the result is 0, or what its clone has returned.
  kCopyMemory = 128,
  // Makes a descriptor that is closed when the socket closes, like one that was lent.
  kMakesLent = 32,
  // Closes the descriptor that was lent or made so last.
  kClosesLent = 64
};

// What a new thread does before it sleeps for ever (the engine then gives it its registers).
struct ThreadBatch {
  uint64_t calls;  // address of Call[count]; every one is executed, failures are left in `result`
  uint64_t count;
  uint64_t done;  // address of a uint32_t counter, incremented when the thread has finished
};

enum Command : uint32_t {
  kRun = 1,      // execute `count` calls of the batch area
  kReceive = 2,  // receive one message with descriptors; their numbers go to Control::received
  kBorrow = 3    // likewise, one descriptor, which is closed when the socket closes; its number goes to received[0]
};

// Travels over the SOCK_SEQPACKET pair, engine to parasite.
struct Doorbell {
  uint32_t command;
  uint32_t count;
  uint64_t calls;  // address of Call[count]
};
// And back: how many calls were executed; the last one failed when executed < count.
struct Reply {
  uint32_t executed;
  uint32_t pad;
};

inline constexpr uint32_t kMaxDescriptors = 253;  // SCM_MAX_FD

// At the start of the data area (base + kDataOffset).
struct Control {
  int32_t sockets[2];       // written by the entry code
  uint32_t received_count;  // descriptors that came last
  int32_t received[kMaxDescriptors];
  uint32_t owned_count;  // to be closed should the engine vanish
  int32_t owned[16];
};

// The mapping: [code, read and execute][control, batch and buffers, read and write][stack at the end].
inline constexpr uint64_t kCodeBytes = 4096;
inline constexpr uint64_t kDataOffset = kCodeBytes;
inline constexpr uint64_t kBatchOffset = kDataOffset + 4096;
inline constexpr uint64_t kStackBytes = 8192;

}  // namespace mcr::parasite
