// Memory that a saver may begin to store at both ends: all pages different, every other one the same, all the same,
// pages of the beginning again, and some that cannot be read. All of it is right afterwards.
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kMiB = 1u << 20;

// By its place in the area, so that pages of the same number have the same content.
uint64_t seed_of(size_t at) {
  const size_t page = at / kPage;
  if (at < 24 * kMiB) return 1000 + page;                      // all different
  if (at < 40 * kMiB) return page % 2 == 0 ? 1000 + page : 1;  // every other one the same
  if (at < 56 * kMiB) return 2;                                // all the same
  if (at < 60 * kMiB) return 1000 + (at - 56 * kMiB) / kPage;  // as the first ones
  return 1000 + page;                                          // cannot be read
}
constexpr size_t kReadable = 60 * kMiB, kSize = 64 * kMiB;

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(memory != MAP_FAILED);
  auto* area = static_cast<unsigned char*>(memory);
  for (size_t at = 0; at < kSize; at += kPage) workload::fill(area + at, kPage, seed_of(at));
  MUST(mprotect(area + kReadable, kSize - kReadable, PROT_NONE) == 0);
  workload::ready();
  workload::wait_for_end();
  MUST(mprotect(area + kReadable, kSize - kReadable, PROT_READ | PROT_WRITE) == 0);
  for (size_t at = 0; at < kSize; at += kPage) MUST_BE(workload::differs(area + at, kPage, seed_of(at)), -1);
  workload::passed();
}
