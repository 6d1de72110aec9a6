// NUMA policies of single threads (set_mempolicy), where the first mapping has one of its own.
#include <pthread.h>
#include <sys/mman.h>

#include <atomic>

#include "contract.h"

namespace {

constexpr int kStaticNodes = 1 << 15;
struct Wanted {
  int mode;
  unsigned long nodes;
};
const Wanted kWanted[] = {{0, 0}, {1, 1}, {2, 1}, {3, 1}, {4, 0}, {5, 1}, {2 | kStaticNodes, 1}, {0, 0}};
constexpr size_t kCount = sizeof kWanted / sizeof *kWanted;
std::atomic<size_t> set_up{0}, checked{0};
std::atomic<bool> over{false};

void choose(const Wanted& wanted) {
  unsigned long nodes = wanted.nodes;
  MUST(syscall(SYS_set_mempolicy, wanted.mode, nodes ? &nodes : nullptr, nodes ? 64 : 0) == 0);
}

void verify(const Wanted& wanted) {
  int mode = -1;
  unsigned long nodes[16] = {};
  MUST(syscall(SYS_get_mempolicy, &mode, nodes, 1024, 0, 0) == 0);
  MUST_BE(mode, wanted.mode);
  MUST_BE(nodes[0], wanted.nodes);
}

void* live(void* number) {
  const Wanted& wanted = kWanted[reinterpret_cast<size_t>(number)];
  choose(wanted);
  ++set_up;
  while (!over) usleep(1000);
  verify(wanted);
  ++checked;
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (syscall(SYS_get_mempolicy, nullptr, nullptr, 0, nullptr, 0) != 0 && errno == ENOSYS)
    workload::skip("this kernel has no NUMA\n");
  // Below the program itself.
  auto* low = static_cast<char*>(mmap(reinterpret_cast<void*>(0x200000), 4096, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  MUST(low != MAP_FAILED);
  unsigned long node = 1;
  MUST(syscall(SYS_mbind, low, 4096, 3, &node, 64, 0) == 0);
  pthread_t threads[kCount];
  for (size_t i = 0; i < kCount; ++i) pthread_create(&threads[i], nullptr, live, reinterpret_cast<void*>(i));
  while (set_up < kCount) usleep(1000);
  choose(kWanted[2]);  // of the leader itself
  workload::ready();
  workload::wait_for_end();
  verify(kWanted[2]);
  over = true;
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
  MUST_BE(checked.load(), kCount);
  return workload::passed();
}
