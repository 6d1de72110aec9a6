// Guard pages (MADV_GUARD_INSTALL, 6.13; of files 6.15): a fault where they are, content around them, and none where
// they were taken away.
#include <setjmp.h>
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr int kInstall = 102, kRemove = 103;  // MADV_GUARD_INSTALL, MADV_GUARD_REMOVE
constexpr size_t kPage = 4096, kPages = 12;
sigjmp_buf on_fault;

bool faults(const volatile unsigned char* page) {
  if (sigsetjmp(on_fault, 1) != 0) return true;
  (void)*page;
  return false;
}

struct Area {
  unsigned char* start;
  bool file;
};

bool is_guard(size_t page) {
  return page == 0 || page == 5 || page == 6 || page == kPages - 1;
}

void install(const Area& area) {
  for (size_t i = 0; i < kPages; ++i)
    if (is_guard(i) || i == 8) MUST(madvise(area.start + i * kPage, kPage, kInstall) == 0);
  MUST(madvise(area.start + 8 * kPage, kPage, kRemove) == 0);
}

// Page 3 was never touched; page 8 was, but lost its content to the guard that it had for a while.
void verify(const Area& area, int line) {
  for (size_t i = 0; i < kPages; ++i) {
    const unsigned char* page = area.start + i * kPage;
    if (faults(page) != is_guard(i)) workload::fail("line %d: page %zu of %p", line, i, static_cast<void*>(area.start));
    if (is_guard(i)) continue;
    if (!area.file && (i == 3 || i == 8))
      MUST_BE(workload::differs_from(page, kPage, 0), -1);
    else
      MUST_BE(workload::differs(page, kPage, 200 + i), -1);
  }
}

// Three side by side. Of these the last one has never been a part of what had guard pages: it has memory of its own
// before the one in the middle comes and is joined with the first. None of the program's own lies beside them.
class Row {
 public:
  Row() {
    void* at = mmap(nullptr, 5 * kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(at != MAP_FAILED);
    first_ = static_cast<unsigned char*>(at) + kBytes;
    for (const size_t i : {0, 2, 1}) {
      MUST(mmap(first_ + i * kBytes, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
           first_ + i * kBytes);
      if (i == 1)
        for (const int advice : {kInstall, kRemove}) MUST(madvise(first_ + i * kBytes, kPage, advice) == 0);
      workload::fill(first_ + i * kBytes, kBytes, 300 + i);
    }
    MUST(mprotect(first_ + kBytes, kBytes, PROT_NONE) == 0);
  }
  void verify() const {
    MUST(mprotect(first_ + kBytes, kBytes, PROT_READ) == 0);
    for (size_t i = 0; i < 3; ++i) MUST_BE(workload::differs(first_ + i * kBytes, kBytes, 300 + i), -1);
  }

 private:
  static constexpr size_t kBytes = kPages * kPage;
  unsigned char* first_;
};

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  struct sigaction action {};
  action.sa_handler = [](int) { siglongjmp(on_fault, 1); };
  sigaction(SIGSEGV, &action, nullptr);
  auto map = [](int prot, int flags, int fd) {
    void* at = mmap(nullptr, kPages * kPage, prot, flags, fd, 0);
    MUST(at != MAP_FAILED);
    return static_cast<unsigned char*>(at);
  };
  const Area anonymous{map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1), false};
  for (size_t i = 0; i < kPages; ++i)
    if (i != 3) workload::fill(anonymous.start + i * kPage, kPage, 200 + i);
  if (madvise(anonymous.start, kPage, kInstall) != 0) workload::skip("this kernel has no guard pages (6.13)\n");
  install(anonymous);
  std::vector<Area> areas{anonymous};
  areas.push_back({map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1), false});  // made unreadable below
  for (size_t i = 0; i < kPages; ++i)
    if (i != 3) workload::fill(areas[1].start + i * kPage, kPage, 200 + i);
  install(areas[1]);
  MUST(mprotect(areas[1].start, kPages * kPage, PROT_NONE) == 0);
  // It has none any more, but smaps says for ever that it had.
  unsigned char* former = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  MUST(madvise(former, kPages * kPage, kInstall) == 0 && madvise(former, kPages * kPage, kRemove) == 0);
  MUST(mprotect(former, kPages * kPage, PROT_READ) == 0);
  const Row row;
  const std::string path = workload::prefix + ".file";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  MUST(ftruncate(fd, kPages * kPage) == 0);
  unsigned char* whole = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd);
  for (size_t i = 0; i < kPages; ++i) workload::fill(whole + i * kPage, kPage, 200 + i);
  areas.push_back({map(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd), true});
  workload::fill(areas.back().start + 2 * kPage, kPage, 202);  // a copy of its own with the same content
  const bool of_files = madvise(areas.back().start, kPage, kInstall) == 0;
  if (of_files) {
    install(areas.back());
    areas.push_back({map(PROT_READ, MAP_SHARED, fd), true});
    install(areas.back());
    areas.push_back({map(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1), false});
    for (size_t i = 0; i < kPages; ++i)
      if (i != 3 && i != 8) workload::fill(areas.back().start + i * kPage, kPage, 200 + i);
    install(areas.back());
  } else {
    areas.pop_back();
  }
  for (size_t i = 0; i < areas.size(); ++i)
    if (i != 1) verify(areas[i], __LINE__);
  workload::ready();
  workload::wait_for_end();
  MUST(mprotect(areas[1].start, kPages * kPage, PROT_READ | PROT_WRITE) == 0);
  for (const Area& area : areas) verify(area, __LINE__);
  row.verify();
  MUST(madvise(areas[0].start, kPages * kPage, kRemove) == 0);
  for (size_t i = 0; i < kPages; ++i) MUST(!faults(areas[0].start + i * kPage));
  return workload::passed();
}
