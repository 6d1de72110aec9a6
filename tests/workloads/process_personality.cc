// Every flag of personality(2) that changes no address; the mappings made before READ_IMPLIES_EXEC stay unexecutable.
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/utsname.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const unsigned long flags = ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC | ADDR_COMPAT_LAYOUT | UNAME26 | MMAP_PAGE_ZERO |
                              WHOLE_SECONDS | STICKY_TIMEOUTS | SHORT_INODE;
  MUST(personality(flags) == 0);
  void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(memory != MAP_FAILED);
  const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov $42, %eax; ret
  memcpy(memory, code, sizeof code);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(static_cast<unsigned long>(personality(0xffffffff)), flags);
  utsname name{};
  MUST(uname(&name) == 0);
  MUST(strncmp(name.release, "2.6.", 4) == 0);
  MUST_BE(reinterpret_cast<int (*)()>(memory)(), 42);
  return workload::passed();
}
