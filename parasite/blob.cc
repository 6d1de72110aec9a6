// The parasite: freestanding, position-independent, no relocations, general registers only (so that the FPU state of
// the borrowed thread stays as it is). Entered by entry.S; returns when its socket closes.
#include "parasite/protocol.h"

namespace {

using namespace mcr::parasite;

enum : long { kRead = 0, kClose = 3, kSendto = 44, kRecvmsg = 47, kWait4 = 61, kDup3 = 292 };
constexpr long kNoSignal = 0x4000;  // MSG_NOSIGNAL

inline long syscall6(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d = 0, uint64_t e = 0, uint64_t f = 0) {
  long result;
  register uint64_t r10 asm("r10") = d;
  register uint64_t r8 asm("r8") = e;
  register uint64_t r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

// The new thread shares our stack pointer, so its path uses registers only, until it sleeps for good.
inline long spawn_thread(const Call& call) {
  const auto* batch = reinterpret_cast<const ThreadBatch*>(call.args[5]);
  long result;
  register uint64_t calls asm("r12") = batch->calls;
  register uint64_t count asm("r13") = batch->count;
  register uint64_t done asm("r14") = batch->done;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 9f\n\t"
      "1: test %%r13, %%r13\n\t"
      "jz 2f\n\t"
      "mov (%%r12), %%eax\n\t"
      "mov 8(%%r12), %%rdi\n\t"
      "mov 16(%%r12), %%rsi\n\t"
      "mov 24(%%r12), %%rdx\n\t"
      "mov 32(%%r12), %%r10\n\t"
      "mov 40(%%r12), %%r8\n\t"
      "mov 48(%%r12), %%r9\n\t"
      "syscall\n\t"
      "mov %%rax, 56(%%r12)\n\t"
      "add $64, %%r12\n\t"
      "dec %%r13\n\t"
      "jmp 1b\n\t"
      "2: lock incl (%%r14)\n\t"
      "3: mov $34, %%eax\n\t"  // pause: all signals are blocked, only the tracer wakes it
      "syscall\n\t"
      "jmp 3b\n\t"
      "9:\n\t"
      : "=a"(result)
      : "a"(static_cast<long>(call.number)), "D"(call.args[0]), "S"(call.args[1]), "r"(calls), "r"(count), "r"(done)
      : "rcx", "r11", "memory");
  return result;
}

// The new process has our stack in its memory, but not as its own: registers only, until it is in its own mapping.
inline long spawn_in_our_memory(const Call& call) {
  long result;
  register uint64_t base asm("r12") = call.args[2];
  register uint64_t socket asm("r13") = call.args[5];
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 9f\n\t"
      "xor %%r14d, %%r14d\n\t"
      "jmp *%%r12\n\t"
      "9:\n\t"
      : "=a"(result)
      : "a"(static_cast<long>(call.number)), "D"(call.args[0]), "S"(call.args[1]), "r"(base), "r"(socket)
      : "rcx", "r11", "memory");
  return result;
}

// Both new processes have our stack pointer, the first one our stack: registers only. All of the second one's life is
// its last call.
inline long copy_memory(const Call& call) {
  long result;
  register uint64_t copy_flags asm("r12") = call.args[5];
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 9f\n\t"
      "mov $436, %%eax\n\t"  // close_range(0, ~0, CLOSE_RANGE_UNSHARE)
      "xor %%edi, %%edi\n\t"
      "mov $0xffffffff, %%esi\n\t"
      "mov $2, %%edx\n\t"
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "js 3f\n\t"
      "mov $112, %%eax\n\t"  // setsid
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "js 3f\n\t"
      "mov $56, %%eax\n\t"  // clone
      "mov %%r12, %%rdi\n\t"
      "xor %%esi, %%esi\n\t"
      "xor %%edx, %%edx\n\t"
      "xor %%r10d, %%r10d\n\t"
      "xor %%r8d, %%r8d\n\t"
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "js 3f\n\t"
      "xor %%edi, %%edi\n\t"
      "jmp 4f\n\t"
      "3: mov %%eax, %%edi\n\t"
      "neg %%edi\n\t"
      "4: mov $231, %%eax\n\t"  // exit_group
      "syscall\n\t"
      "jmp 4b\n\t"
      "9:\n\t"
      : "=a"(result)
      : "a"(static_cast<long>(call.number)), "D"(call.args[0]), "S"(0l), "d"(0l), "r"(copy_flags)
      : "rcx", "r8", "r10", "r11", "memory");
  if (result < 0) return result;
  constexpr uint64_t kAnyChild = 0x40000000;  // __WALL
  int status = 0;
  const long waited = syscall6(kWait4, static_cast<uint64_t>(result), reinterpret_cast<uint64_t>(&status), kAnyChild);
  return waited < 0 ? waited : -static_cast<long>(status >> 8 & 0xff);
}

constexpr uint32_t kIsNewProcess = ~0u;

uint32_t run(Control* control, Call* calls, uint32_t count, int& socket) {
  for (uint32_t i = 0; i < count; ++i) {
    Call& call = calls[i];
    if (call.flags & kSpawnProcess) {
      // The new process finds a copy of this batch and must not touch it: the engine may have sent it the next already.
      const uint64_t own_socket = call.args[5];
      const uint32_t flags = call.flags;
      const long result = flags & kSpawnSharingMemory ? spawn_in_our_memory(call)
                                                      : syscall6(call.number, call.args[0], call.args[1], 0);
      if (result == 0 && flags & kSpawnSharingFiles) {
        socket = static_cast<int>(own_socket);
        return kIsNewProcess;
      }
      if (result == 0) {
        // Until here the copy of our socket keeps it open; without the engine both are at their end.
        syscall6(kDup3, own_socket, static_cast<uint64_t>(socket), 0);
        syscall6(kClose, own_socket, 0, 0);
        return kIsNewProcess;
      }
      call.result = result;
      if (call.result < 0) return i + 1;
      continue;
    }
    if (call.flags & kClosesLent && control->owned_count > 0) --control->owned_count;
    if (call.flags & kCopyMemory)
      call.result = copy_memory(call);
    else if (call.flags & kSpawnThread)
      call.result = spawn_thread(call);
    else
      call.result =
          syscall6(call.number, call.args[0], call.args[1], call.args[2], call.args[3], call.args[4], call.args[5]);
    const bool failed = call.result < 0 && call.result >= -4095;
    if (call.flags & kMakesLent && !failed && control->owned_count < 16)
      control->owned[control->owned_count++] = static_cast<int32_t>(call.result);
    if (failed && !(call.flags & kMayFail)) return i + 1;
  }
  return count;
}

struct MessageHeader {  // struct msghdr of the kernel ABI
  void* name;
  uint32_t name_length;
  void* parts;
  uint64_t part_count;
  void* control;
  uint64_t control_length;
  uint32_t flags;
};

// Descriptors must be known to the control block the moment they exist here, so that they can be closed.
uint32_t receive(Control* control, int socket) {
  alignas(8) unsigned char rights[16 + sizeof control->received + 8];
  uint64_t payload;
  struct {
    void* base;
    uint64_t length;
  } part{&payload, sizeof payload};
  MessageHeader header{nullptr, 0, &part, 1, rights, sizeof rights, 0};
  constexpr uint64_t kCloseOnExec = 0x40000000;  // MSG_CMSG_CLOEXEC
  control->received_count = 0;
  const long n = syscall6(kRecvmsg, static_cast<uint64_t>(socket), reinterpret_cast<uint64_t>(&header), kCloseOnExec);
  if (n <= 0 || header.control_length < 16) return 0;
  const uint64_t length = *reinterpret_cast<uint64_t*>(rights);
  if (length < 16) return 0;
  const uint32_t count = static_cast<uint32_t>((length - 16) / sizeof(int32_t));
  const auto* numbers = reinterpret_cast<const int32_t*>(rights + 16);
  for (uint32_t i = 0; i < count && i < kMaxDescriptors; ++i) control->received[i] = numbers[i];
  control->received_count = count;
  return count;
}

// Noted here and not by the engine: it may die at any moment, and then only we can close what we were lent.
uint32_t borrow(Control* control, int socket) {
  const uint32_t count = receive(control, socket);
  if (count == 1 && control->owned_count < 16) control->owned[control->owned_count++] = control->received[0];
  return count;
}

}  // namespace

extern "C" void mcr_blob_main(unsigned char* base, int socket) {
  auto* control = reinterpret_cast<Control*>(base + kDataOffset);
  Doorbell bell;
  while (syscall6(kRead, static_cast<uint64_t>(socket), reinterpret_cast<uint64_t>(&bell), sizeof bell) ==
         static_cast<long>(sizeof bell)) {
    Reply reply{0, 0};
    if (bell.command == kRun)
      reply.executed = run(control, reinterpret_cast<Call*>(bell.calls), bell.count, socket);
    else if (bell.command == kReceive)
      reply.executed = receive(control, socket);
    else if (bell.command == kBorrow)
      reply.executed = borrow(control, socket);
    if (reply.executed == kIsNewProcess) continue;
    syscall6(kSendto, static_cast<uint64_t>(socket), reinterpret_cast<uint64_t>(&reply), sizeof reply, kNoSignal);
  }
  // The engine is gone, or cures us: leave no descriptor behind.
  for (uint32_t i = 0; i < control->owned_count && i < 16; ++i)
    syscall6(kClose, static_cast<uint64_t>(control->owned[i]), 0, 0);
}
