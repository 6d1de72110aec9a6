// mlock in all its shapes: with all pages, only those touched (MLOCK_ONFAULT), of memory that cannot be read, of a
// file; and mlockall for what is mapped later.
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kSize = 8 * kPage;

unsigned char* map(int prot, int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1) {
  void* at = mmap(nullptr, kSize, prot, flags, fd, 0);
  MUST(at != MAP_FAILED);
  return static_cast<unsigned char*>(at);
}

size_t resident(unsigned char* at) {
  unsigned char pages[kSize / kPage];
  MUST(mincore(at, kSize, pages) == 0);
  size_t count = 0;
  for (unsigned char page : pages) count += page & 1;
  return count;
}

bool has_flag(const void* at, const char* flag) {
  const std::string text = workload::read_file("/proc/self/smaps");
  bool inside = false;
  for (const char* line = text.c_str(); line && *line; line = strchr(line, '\n'), line = line ? line + 1 : line) {
    unsigned long from = 0, to = 0;
    if (!(*line >= 'A' && *line <= 'Z') && sscanf(line, "%lx-%lx", &from, &to) == 2)
      inside = from <= reinterpret_cast<unsigned long>(at) && reinterpret_cast<unsigned long>(at) < to;
    if (inside && strncmp(line, "VmFlags:", 8) == 0)
      return std::string(line, strcspn(line, "\n")).find(std::string(" ") + flag) != std::string::npos;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  unsigned char* whole = map(PROT_READ | PROT_WRITE);
  MUST(mlock(whole, kSize) == 0);
  workload::fill(whole, kPage, 1);
  unsigned char* on_fault = map(PROT_READ | PROT_WRITE);
  MUST(mlock2(on_fault, kSize, MLOCK_ONFAULT) == 0);
  workload::fill(on_fault, 2 * kPage, 2);
  unsigned char* unreadable = map(PROT_NONE);
  MUST(mlock(unreadable, kSize) == -1 && errno == ENOMEM);  // it is locked all the same
  MUST(has_flag(unreadable, "lo"));
  unsigned char* hidden = map(PROT_READ | PROT_WRITE);
  workload::fill(hidden, kSize, 3);
  MUST(mlock(hidden, kSize) == 0 && mprotect(hidden, kSize, PROT_NONE) == 0);
  unsigned char* read_only = map(PROT_READ);
  MUST(mlock(read_only, kSize) == 0);
  const std::string path = workload::prefix + ".file";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  MUST(ftruncate(fd, 4 * kPage) == 0);  // half of what is mapped
  unsigned char* file = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd);
  MUST(mlock(file, kSize) == -1 && errno == ENOMEM);  // there is nothing behind its end
  unsigned char* shared = map(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  MUST(mlock(shared, kSize) == 0);
  // Half of a mapping
  unsigned char* half = map(PROT_READ | PROT_WRITE);
  workload::fill(half, kSize, 4);
  MUST(mlock(half, kSize / 2) == 0);

  workload::ready();
  workload::wait_for_end();
  MUST_BE(workload::differs(whole, kPage, 1), -1);
  MUST_BE(resident(whole), kSize / kPage);
  MUST_BE(workload::differs(on_fault, 2 * kPage, 2), -1);
  MUST_BE(resident(on_fault), 2);
  MUST(has_flag(on_fault, "lf") && !has_flag(whole, "lf"));
  MUST(has_flag(unreadable, "lo") && has_flag(half, "lo") && !has_flag(half + kSize / 2, "lo"));
  MUST(mprotect(hidden, kSize, PROT_READ) == 0);
  MUST_BE(workload::differs(hidden, kSize, 3), -1);
  MUST_BE(workload::differs(half, kSize, 4), -1);
  MUST_BE(resident(shared), kSize / kPage);
  MUST(!has_flag(map(PROT_READ | PROT_WRITE), "lo"));  // nobody asked for that
  return workload::passed();
}
