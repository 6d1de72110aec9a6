// Mapped files that are not what their path says any more: replaced by rename (as package managers do), removed, cut
// short below the mapping, grown after it; private, shared and executable.
#include <setjmp.h>
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kSize = 8 * kPage;
sigjmp_buf faulted;

std::string path_of(const char* name) {
  return workload::prefix + "." + name;
}

int make(const std::string& path, size_t size, uint64_t seed) {
  std::vector<unsigned char> content(size);
  workload::fill(content.data(), size, seed);
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0755);
  MUST(fd >= 0 && write(fd, content.data(), size) == static_cast<ssize_t>(size));
  return fd;
}

unsigned char* map(const std::string& path, int prot, int flags, size_t size = kSize) {
  int fd = open(path.c_str(), prot & PROT_WRITE && flags == MAP_SHARED ? O_RDWR : O_RDONLY);
  MUST(fd >= 0);
  auto* at = static_cast<unsigned char*>(mmap(nullptr, size, prot, flags, fd, 0));
  MUST(at != MAP_FAILED);
  close(fd);
  return at;
}

void replace(const std::string& path, uint64_t seed) {
  close(make(path + ".new", kSize, seed));
  MUST(rename((path + ".new").c_str(), path.c_str()) == 0);
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
  const std::string library = path_of("library"), data = path_of("data"), cut = path_of("cut"),
                    grown = path_of("grown");
  close(make(library, kSize, 1));
  auto* code = map(library, PROT_READ | PROT_EXEC, MAP_PRIVATE);
  auto* own = map(library, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  workload::fill(own + kPage, kPage, 2);
  replace(library, 3);
  close(make(data, kSize, 4));
  auto* shared = map(data, PROT_READ | PROT_WRITE, MAP_SHARED);
  auto* reader = map(data, PROT_READ, MAP_SHARED);
  replace(data, 5);
  auto* newer = map(data, PROT_READ, MAP_SHARED);
  int cut_file = make(cut, kSize, 6);
  auto* beyond = map(cut, PROT_READ | PROT_WRITE, MAP_SHARED);
  MUST(ftruncate(cut_file, 3 * kPage + 100) == 0);
  close(cut_file);
  auto* gone = map(cut, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  int grown_file = make(grown, kPage, 7);
  auto* more = map(grown, PROT_READ | PROT_WRITE, MAP_SHARED, 2 * kPage);
  MUST(ftruncate(grown_file, kSize) == 0);
  MUST(unlink(grown.c_str()) == 0);
  close(grown_file);

  workload::ready();
  workload::wait_for_end();
  MUST_BE(workload::differs(code, kSize, 1), -1);
  MUST(memcmp(own, code, kPage) == 0 && memcmp(own + 2 * kPage, code + 2 * kPage, kSize - 2 * kPage) == 0);
  MUST_BE(workload::differs(own + kPage, kPage, 2), -1);
  MUST_BE(workload::differs(shared, kSize, 4), -1);
  shared[5] ^= 1;
  MUST_BE(reader[5], shared[5]);
  MUST_BE(workload::differs(newer, kSize, 5), -1);
  auto* now = map(library, PROT_READ, MAP_PRIVATE);
  MUST_BE(workload::differs(now, kSize, 3), -1);  // the new file is untouched
  std::vector<unsigned char> content(kSize);
  workload::fill(content.data(), kSize, 6);
  for (unsigned char* view : {beyond, gone}) {
    MUST(memcmp(view, content.data(), 3 * kPage + 100) == 0);
    MUST_BE(workload::differs_from(view + 3 * kPage + 100, kPage - 100, 0), -1);
    MUST(faults(view + 4 * kPage) && faults(view + 7 * kPage));
  }
  MUST_BE(workload::differs(more, kPage, 7), -1);
  MUST_BE(workload::differs_from(more + kPage, kPage, 0), -1);
  more[kPage] = 3;
  return workload::passed();
}
