// A program to look at with a debugger: a thread with known registers, one with known vector registers, one deep in
// C++, one that waits in the kernel; memory of every kind with a known text in it. Says READY and stays as it is.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

const char* private_text;
char *shared_text, *file_text, *changed_file_text, *memfd_text, *deleted_text, *untouched;
volatile long steps;
std::atomic<int> arrived;  // threads that go to where they stay

namespace shop {

struct Order {
  std::string customer;
  std::vector<int> items;
};

template <typename T>
class Ledger {
 public:
  __attribute__((noinline)) long add(const T& entry, int depth) {
    entries_[depth] = entry;
    if (depth < 4) {
      const long below = add(entry, depth + 1);
      return below + 1;
    }
    return wait(entry);
  }

 private:
  __attribute__((noinline)) long wait(const T& entry) {
    ++arrived;
    steps = steps + static_cast<long>(entry.items.size());
    for (;;) asm volatile("");  // one instruction
  }
  std::map<int, T> entries_;
};

}  // namespace shop

extern "C" void stand_in_registers();
extern "C" void stand_in_vectors(const void* values);
asm(R"(
  .pushsection .text
  .globl stand_in_registers
  .type stand_in_registers, @function
stand_in_registers:
  .cfi_startproc
  mov $0x1111111111111111, %rax
  mov $0x2222222222222222, %rbx
  .cfi_undefined rbx
  mov $0x3333333333333333, %r12
  .cfi_undefined r12
  mov $0x4444444444444444, %r15
  .cfi_undefined r15
  stc
1: jmp 1b
  .cfi_endproc
  .size stand_in_registers, .-stand_in_registers
  .globl stand_in_vectors
  .type stand_in_vectors, @function
stand_in_vectors:
  .cfi_startproc
  fldpi
  fld1
  vmovdqu (%rdi), %ymm0
  vmovdqu 32(%rdi), %ymm7
  vmovdqu 64(%rdi), %ymm15
1: jmp 1b
  .cfi_endproc
  .size stand_in_vectors, .-stand_in_vectors
  .popsection
)");

static void* registers(void*) {
  ++arrived;
  stand_in_registers();
  return nullptr;
}

static void* vectors(void*) {
  alignas(32) unsigned char values[96];
  for (unsigned i = 0; i < sizeof values; ++i) values[i] = static_cast<unsigned char>(0xa0 + i);
  ++arrived;
  stand_in_vectors(values);
  return nullptr;
}

static void* orders(void*) {
  shop::Ledger<shop::Order> ledger;
  return reinterpret_cast<void*>(ledger.add({"Ada", {1, 2, 3}}, 0));
}

static char* map_file(int fd, int kind, const char* text) {
  if (fd < 0 || pwrite(fd, text, strlen(text) + 1, 0) < 0 || ftruncate(fd, 2 * 4096) < 0) _exit(1);
  return static_cast<char*>(mmap(nullptr, 2 * 4096, PROT_READ | PROT_WRITE, kind, fd, 0));
}

int main(int, char** argv) {  // argv[1]: a folder to write to
  const std::string folder = argv[1];
  private_text = strdup("private memory");
  shared_text = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  strcpy(shared_text, "shared memory");
  untouched = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  file_text = map_file(open((folder + "/shared").c_str(), O_RDWR | O_CREAT, 0600), MAP_SHARED, "in a file");
  changed_file_text = map_file(open((folder + "/private").c_str(), O_RDWR | O_CREAT, 0600), MAP_PRIVATE, "as it was");
  strcpy(changed_file_text + 4096, "changed in memory");
  memfd_text = map_file(memfd_create("memory", 0), MAP_SHARED, "in a memfd");
  const std::string gone = folder + "/gone";
  deleted_text = map_file(open(gone.c_str(), O_RDWR | O_CREAT, 0600), MAP_SHARED, "in a deleted file");
  unlink(gone.c_str());
  pthread_t thread;
  for (const auto run : {registers, vectors, orders}) pthread_create(&thread, nullptr, run, nullptr);
  while (arrived < 3) usleep(100);
  puts("READY");
  fflush(stdout);
  for (;;) pause();
}
