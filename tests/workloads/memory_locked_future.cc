// mlockall(MCL_CURRENT | MCL_FUTURE): what is mapped after a restore is locked too.
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kSize = 8 * kPage;

size_t resident(void* at) {
  unsigned char pages[kSize / kPage];
  MUST(mincore(at, kSize, pages) == 0);
  size_t count = 0;
  for (unsigned char page : pages) count += page & 1;
  return count;
}

unsigned long locked_kb() {
  const std::string text = workload::read_file("/proc/self/status");
  unsigned long kb = 0;
  MUST(sscanf(text.c_str() + text.find("VmLck:"), "VmLck: %lu", &kb) == 1);
  return kb;
}

void* map() {
  void* at = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(at != MAP_FAILED);
  return at;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  void* before = map();
  workload::fill(before, kPage, 1);
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) workload::skip("RLIMIT_MEMLOCK forbids it here\n");
  void* after = map();
  workload::fill(after, kPage, 2);
  const size_t pages = resident(after);
  const unsigned long locked = locked_kb();
  workload::ready();
  workload::wait_for_end();
  MUST_BE(locked_kb(), locked);
  MUST_BE(workload::differs(before, kPage, 1), -1);
  MUST_BE(workload::differs(after, kPage, 2), -1);
  void* later = map();
  MUST_BE(locked_kb(), locked + kSize / 1024);
  memset(later, 1, kPage);
  MUST_BE(resident(later), pages);
  return workload::passed();
}
