// Private anonymous memory in pieces: holes, PROT_NONE, read-only after writing, every protection once.
#include <setjmp.h>
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096;
sigjmp_buf on_fault;

// What may be done to the page: 'r' and 'w' bits, found by trying.
int access_of(volatile unsigned char* page) {
  volatile int access = 0;
  if (sigsetjmp(on_fault, 1) == 0) {
    (void)*page;
    access = access | PROT_READ;
  }
  if (sigsetjmp(on_fault, 1) == 0) {
    unsigned char value = (access & PROT_READ) ? *page : 0;
    *page = value;
    access = access | PROT_WRITE;
  }
  return access;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  struct sigaction action {};
  action.sa_handler = [](int) { siglongjmp(on_fault, 1); };
  sigaction(SIGSEGV, &action, nullptr);

  constexpr size_t kPages = 64;
  auto* area = static_cast<unsigned char*>(
      mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(area != MAP_FAILED);
  const int kinds[] = {PROT_READ | PROT_WRITE, PROT_NONE, PROT_READ,
                       PROT_READ | PROT_EXEC,  -1,        PROT_READ | PROT_WRITE | PROT_EXEC,
                       PROT_READ | PROT_WRITE};
  auto kind_of = [&](size_t i) { return kinds[i % 7]; };
  for (size_t i = 0; i < kPages; ++i)
    if (i % 7 != 6) workload::fill(area + i * kPage, kPage, 500 + i);  // every seventh is never touched
  for (size_t i = 0; i < kPages; ++i) {
    if (kind_of(i) == -1) {
      MUST(munmap(area + i * kPage, kPage) == 0);
    } else {
      MUST(mprotect(area + i * kPage, kPage, kind_of(i)) == 0);
    }
  }
  // An executable page with code in it, and a large reservation that is never touched.
  auto* code =
      static_cast<unsigned char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const unsigned char return_42[] = {0xb8, 42, 0, 0, 0, 0xc3};
  memcpy(code, return_42, sizeof return_42);
  MUST(mprotect(code, kPage, PROT_EXEC) == 0);
  void* reserved = mmap(nullptr, 1ull << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  MUST(reserved != MAP_FAILED);

  workload::ready();
  workload::wait_for_end();
  for (size_t i = 0; i < kPages; ++i) {
    int kind = kind_of(i);
    int expected = kind == -1 ? 0 : kind & (PROT_READ | PROT_WRITE);
    MUST_BE(access_of(area + i * kPage), expected);
    unsigned char resident;
    if (kind == -1) {
      MUST(mincore(area + i * kPage, kPage, &resident) == -1);
      continue;
    }
    MUST(mprotect(area + i * kPage, kPage, PROT_READ | PROT_WRITE) == 0);
    if (i % 7 == 6)
      MUST_BE(workload::differs_from(area + i * kPage, kPage, 0), -1);
    else
      MUST_BE(workload::differs(area + i * kPage, kPage, 500 + i), -1);
  }
  MUST_BE(reinterpret_cast<int (*)()>(code)(), 42);
  MUST(mprotect(reserved, kPage, PROT_READ | PROT_WRITE) == 0);
  MUST_BE(workload::differs_from(reserved, kPage, 0), -1);
  return workload::passed();
}
