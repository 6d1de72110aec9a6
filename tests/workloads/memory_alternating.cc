// Megabytes of what is new, of one page again and again, and of zeros, in turn; some of it cannot be read.
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kMiB = 1 << 20, kPage = 4096;
struct Part {
  char kind;  // 'n'ew, 's'ame, 'z'ero
  size_t bytes;
};
constexpr Part kParts[] = {{'n', 3 * kMiB}, {'s', 20 * kMiB}, {'n', 6 * kMiB}, {'z', 20 * kMiB}, {'n', 3 * kMiB}};

void fill(unsigned char* at, const Part& part, uint64_t seed) {
  if (part.kind == 'n') return workload::fill(at, part.bytes, seed);
  for (size_t page = 0; page < part.bytes; page += kPage)
    if (part.kind == 's')
      workload::fill(at + page, kPage, 4711);
    else
      memset(at + page, 0, kPage);  // touched: it is there
}

void compare(const unsigned char* at, const Part& part, uint64_t seed) {
  if (part.kind == 'n') MUST_BE(workload::differs(at, part.bytes, seed), -1);
  if (part.kind == 'z') MUST_BE(workload::differs_from(at, part.bytes, 0), -1);
  for (size_t page = 0; part.kind == 's' && page < part.bytes; page += kPage)
    MUST_BE(workload::differs(at + page, kPage, 4711), -1);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  size_t bytes = 0;
  for (const Part& part : kParts) bytes += part.bytes;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(memory != MAP_FAILED);
  auto* const begin = static_cast<unsigned char*>(memory);
  unsigned char* at = begin;
  for (const Part& part : kParts) fill(at, part, part.bytes), at += part.bytes;
  MUST(mprotect(begin + 10 * kMiB, kMiB, PROT_NONE) == 0);
  MUST(mprotect(begin + 24 * kMiB, kMiB, PROT_NONE) == 0);
  workload::ready();
  workload::wait_for_end();
  MUST(mprotect(begin, bytes, PROT_READ) == 0);
  at = begin;
  for (const Part& part : kParts) compare(at, part, part.bytes), at += part.bytes;
  return workload::passed();
}
