// Shared anonymous memory in unusual states: larger than what is mapped of it, mapped beyond its end, with holes made
// by MADV_REMOVE, with no permission at all, and two views of different protection of an object whose first is gone.
#include <setjmp.h>
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kSize = 32 * kPage;
sigjmp_buf faulted;

unsigned char* map(size_t size, int prot) {
  auto* at = static_cast<unsigned char*>(mmap(nullptr, size, prot, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  MUST(at != MAP_FAILED);
  return at;
}

bool faults(unsigned char* at) {
  if (sigsetjmp(faulted, 1) != 0) return true;
  *static_cast<volatile unsigned char*>(at);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  struct sigaction action {};
  action.sa_handler = [](int) { siglongjmp(faulted, 1); };
  sigaction(SIGBUS, &action, nullptr);

  auto* middle = map(kSize, PROT_READ | PROT_WRITE);  // only its middle stays mapped
  workload::fill(middle, kSize, 1);
  MUST(munmap(middle, 8 * kPage) == 0 && munmap(middle + 20 * kPage, 12 * kPage) == 0);

  auto* longer = map(4 * kPage, PROT_READ | PROT_WRITE);  // enlarged: nothing is behind its end
  workload::fill(longer, 4 * kPage, 2);
  longer = static_cast<unsigned char*>(mremap(longer, 4 * kPage, 9 * kPage, MREMAP_MAYMOVE));
  MUST(longer != MAP_FAILED);

  auto* holes = map(kSize, PROT_READ | PROT_WRITE);
  workload::fill(holes, kSize, 3);
  MUST(madvise(holes + 4 * kPage, 10 * kPage, MADV_REMOVE) == 0);

  auto* closed = map(kSize, PROT_READ | PROT_WRITE);
  workload::fill(closed, kSize, 4);
  MUST(mprotect(closed, kSize, PROT_NONE) == 0);
  map(kSize, PROT_NONE);  // never touched

  auto* first = map(kSize, PROT_READ | PROT_WRITE);
  workload::fill(first, kSize, 5);
  auto* writer = static_cast<unsigned char*>(mremap(first + 6 * kPage, 0, 4 * kPage, MREMAP_MAYMOVE));
  auto* reader = static_cast<unsigned char*>(mremap(first + 4 * kPage, 0, 8 * kPage, MREMAP_MAYMOVE));
  MUST(writer != MAP_FAILED && reader != MAP_FAILED && mprotect(reader, 8 * kPage, PROT_READ) == 0);
  MUST(munmap(first, kSize) == 0);

  workload::ready();
  workload::wait_for_end();
  std::vector<unsigned char> content(kSize);
  workload::fill(content.data(), kSize, 1);
  MUST(memcmp(middle + 8 * kPage, content.data() + 8 * kPage, 12 * kPage) == 0);
  auto* whole = static_cast<unsigned char*>(mremap(middle + 8 * kPage, 12 * kPage, 24 * kPage, MREMAP_MAYMOVE));
  MUST(whole != MAP_FAILED);
  MUST(memcmp(whole, content.data() + 8 * kPage, 24 * kPage) == 0);  // what was unmapped is still in the object
  MUST_BE(workload::differs(longer, 4 * kPage, 2), -1);
  MUST(faults(longer + 4 * kPage) && faults(longer + 8 * kPage));
  workload::fill(content.data(), kSize, 3);
  MUST(memcmp(holes, content.data(), 4 * kPage) == 0);
  MUST_BE(workload::differs_from(holes + 4 * kPage, 10 * kPage, 0), -1);
  MUST(memcmp(holes + 14 * kPage, content.data() + 14 * kPage, 18 * kPage) == 0);
  MUST(mprotect(closed, kSize, PROT_READ) == 0);
  MUST_BE(workload::differs(closed, kSize, 4), -1);
  workload::fill(content.data(), kSize, 5);
  MUST(memcmp(reader, content.data() + 4 * kPage, 8 * kPage) == 0);
  writer[kPage] ^= 1;
  MUST_BE(reader[3 * kPage], writer[kPage]);
  return workload::passed();
}
