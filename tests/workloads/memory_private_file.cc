// A private file mapping: changed pages keep the change, the others show the file, which itself is untouched.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr size_t kPage = 4096, kPages = 20, kFile = kPages * kPage - 1000;
  std::string path = workload::prefix + ".mapped";
  std::string content(kFile, 0);
  workload::fill(content.data(), content.size(), 21);
  workload::write_file(path, content);
  int fd = open(path.c_str(), O_RDONLY);
  MUST(fd >= 0);
  auto* all = static_cast<unsigned char*>(mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  auto* part =
      static_cast<unsigned char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 8 * kPage));
  auto* read_only = static_cast<unsigned char*>(mmap(nullptr, 4 * kPage, PROT_READ, MAP_PRIVATE, fd, 0));
  MUST(all != MAP_FAILED && part != MAP_FAILED && read_only != MAP_FAILED);
  close(fd);
  for (size_t i = 0; i < kPages; i += 3) all[i * kPage + 17] ^= 0xff;
  part[5] = 1;
  MUST(mprotect(all, 4 * kPage, PROT_READ) == 0);  // changed, then made read-only: the RELRO of every program

  workload::ready();
  workload::wait_for_end();
  for (size_t i = 0; i < kPages; ++i) {
    std::string page = content.substr(i * kPage, kPage);
    page.resize(kPage);  // zeros behind the end of the file
    if (i % 3 == 0) page[17] = static_cast<char>(page[17] ^ 0xff);
    if (memcmp(all + i * kPage, page.data(), kPage) != 0) workload::fail("page %zu differs", i);
  }
  MUST_BE(part[5], 1);
  MUST(memcmp(part + kPage, content.data() + 9 * kPage, 3 * kPage) == 0);
  MUST(memcmp(read_only, content.data(), 4 * kPage) == 0);
  MUST(workload::read_file(path) == content);
  unlink(path.c_str());
  return workload::passed();
}
