// MAP_GROWSDOWN: one mapping that has grown, one that has not yet, one above another mapping whose guard gap it must
// keep. All of them grow on when they are touched below, as deep as they could before.
#include <setjmp.h>
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kGap = 256 * kPage, kRoom = 2 * kGap;  // stack_guard_gap is 256 pages
sigjmp_buf on_fault;
alignas(16) unsigned char signal_stack[64 << 10];

bool touch(volatile unsigned char* at) {
  if (sigsetjmp(on_fault, 1) != 0) return false;
  *at = *at;
  return true;
}

// A grows-down mapping of so many pages at the end of a hole.
unsigned char* make(size_t pages, unsigned char** below) {
  auto* hole = static_cast<unsigned char*>(
      mmap(nullptr, kRoom + pages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  MUST(hole != MAP_FAILED);
  // The first page stays: the floor.
  MUST(mprotect(hole, kPage, PROT_READ) == 0);
  MUST(munmap(hole + kPage, kRoom - kPage + pages * kPage) == 0);
  void* at = mmap(hole + kRoom, pages * kPage, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
  MUST(at == hole + kRoom);
  *below = hole;
  return hole + kRoom;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  stack_t stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof signal_stack;
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_handler = [](int) { siglongjmp(on_fault, 1); };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);

  unsigned char *fresh_floor = nullptr, *grown_floor = nullptr, *full_floor = nullptr;
  unsigned char* fresh = make(2, &fresh_floor);  // never touched
  unsigned char* grown = make(2, &grown_floor);
  for (size_t i = 0; i < 10; ++i) MUST(touch(grown - (i + 1) * kPage));
  workload::fill(grown - 10 * kPage, 12 * kPage, 31);
  unsigned char* full = make(1, &full_floor);  // down to the gap
  size_t depth = 0;
  while (touch(full - (depth + 1) * kPage)) ++depth;
  MUST(depth > 0 && full - depth * kPage > full_floor + kPage);

  workload::ready();
  workload::wait_for_end();
  MUST_BE(workload::differs(grown - 10 * kPage, 12 * kPage, 31), -1);
  MUST(!touch(full - (depth + 1) * kPage));
  for (size_t i = 0; i < depth; ++i) {
    if (!touch(fresh - (i + 1) * kPage)) workload::fail("the fresh one grows %zu pages, not %zu", i, depth);
    if (i >= 10 && !touch(grown - (i + 1) * kPage)) workload::fail("the grown one grows %zu pages, not %zu", i, depth);
  }
  MUST(!touch(fresh - (depth + 1) * kPage));
  MUST(!touch(grown - (depth + 1) * kPage));
  return workload::passed();
}
