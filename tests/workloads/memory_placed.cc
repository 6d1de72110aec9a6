// Mappings of some megabytes each, as they come in ordinary programs: alone, between reserved addresses, read-only by
// now, with holes, of zeros, of pages that are all alike, beside others that have pages. What they hold is right
// afterwards, and the kernel treats them as before: they can be joined, enlarged, moved and inherited. With a second
// argument there are so many MiB more.
#include <sys/mman.h>
#include <sys/wait.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kSize = 6u << 20, kGap = 1u << 20;

struct Area {
  unsigned char* at;
  uint64_t seed;
  size_t apart = kPage;  // each such piece has one page of content
};
std::vector<Area> areas;

// Between addresses that are reserved: nothing joins it from outside.
unsigned char* reserve(size_t bytes, bool keep) {
  void* at = mmap(nullptr, bytes + 2 * kGap, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  MUST(at != MAP_FAILED);
  if (!keep) MUST(munmap(at, bytes + 2 * kGap) == 0);
  return static_cast<unsigned char*>(at) + kGap;
}

unsigned char* make(bool in_reserve, size_t bytes = kSize) {
  unsigned char* at = reserve(bytes, in_reserve);
  MUST(mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
  return at;
}

void fill(const Area& area) {
  for (size_t i = 0; i < kSize; i += area.apart) workload::fill(area.at + i, kPage, area.seed + i);
  areas.push_back(area);
}

void check(const Area& area) {
  for (size_t i = 0; i < kSize; i += kPage)
    if (i % area.apart == 0)
      MUST_BE(workload::differs(area.at + i, kPage, area.seed + i), -1);
    else
      MUST_BE(workload::differs_from(area.at + i, kPage, 0), -1);
}

void check_in_child() {
  const pid_t child = fork();
  MUST(child >= 0);
  if (child == 0) {
    for (const Area& area : areas) check(area);
    _exit(0);
  }
  int status = 0;
  MUST(waitpid(child, &status, 0) == child && status == 0);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  fill({make(false), 1000});
  fill({make(true), 2000});
  fill({make(true), 3000, 3 * kPage});
  unsigned char* read_only = make(false);
  fill({read_only, 4000});
  MUST(mprotect(read_only, kSize, PROT_READ) == 0);
  unsigned char* alike = make(false);
  for (size_t i = 0; i < kSize; i += kPage) workload::fill(alike + i, kPage, 5);
  unsigned char* zeros = make(false);
  memset(zeros, 0, kSize);
  // Neighbours with pages of their own, which a flag keeps apart.
  unsigned char* both = make(false, 2 * kSize);
  MUST(madvise(both + kSize, kSize, MADV_DONTDUMP) == 0);
  fill({both, 6000});
  fill({both + kSize, 7000});
  const size_t more = argc > 2 ? strtoul(argv[2], nullptr, 10) << 20 : 0;
  unsigned char* large = more ? make(false, more) : nullptr;
  workload::fill(large, more, 8);
  workload::ready();
  workload::wait_for_end();
  for (const Area& area : areas) check(area);
  for (size_t i = 0; i < kSize; i += kPage) MUST_BE(workload::differs(alike + i, kPage, 5), -1);
  MUST_BE(workload::differs_from(zeros, kSize, 0), -1);
  MUST_BE(workload::differs(large, more, 8), -1);
  check_in_child();
  auto* moved = static_cast<unsigned char*>(mremap(areas[0].at, kSize, 2 * kSize, MREMAP_MAYMOVE));
  MUST(moved != MAP_FAILED);
  areas[0].at = moved;
  MUST(mprotect(read_only, kSize, PROT_READ | PROT_WRITE) == 0);
  for (const Area& area : areas) {
    check(area);
    MUST(madvise(area.at, kPage, MADV_DONTNEED) == 0);
    MUST_BE(workload::differs_from(area.at, kPage, 0), -1);
    workload::fill(area.at + kPage, kPage, 9);
    MUST_BE(workload::differs(area.at + kPage, kPage, 9), -1);
  }
  return workload::passed();
}
