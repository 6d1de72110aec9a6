// NUMA policies of mappings (mbind), private and shared, on whatever nodes there are.
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kSize = 8 * 4096;
constexpr int kPreferred = 1, kBind = 2, kInterleave = 3, kLocal = 4, kStaticNodes = 1 << 15;

long mbind(void* at, int mode, unsigned long nodes) {
  return syscall(SYS_mbind, at, kSize, mode, nodes ? &nodes : nullptr, nodes ? 64 : 0, 0);
}
struct Policy {
  int mode = -1;
  unsigned long nodes[16] = {};
};

Policy policy_of(void* at) {
  Policy policy;
  MUST(syscall(SYS_get_mempolicy, &policy.mode, policy.nodes, 1024, at, 2) == 0);  // MPOL_F_ADDR
  return policy;
}

void expect(const Policy& policy, int mode, unsigned long nodes) {
  MUST_BE(policy.mode, mode);
  MUST_BE(policy.nodes[0], nodes);
}

struct Wanted {
  int mode;
  unsigned long nodes;
};
const Wanted kWanted[] = {{0, 0},           {kPreferred, 1}, {kBind, 1}, {kBind | kStaticNodes, 1},
                          {kInterleave, 1}, {kLocal, 0}};

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (syscall(SYS_get_mempolicy, nullptr, nullptr, 0, nullptr, 0) != 0 && errno == ENOSYS)
    workload::skip("this kernel has no NUMA\n");
  std::vector<unsigned char*> areas;
  // One behind the other: what differs in its policy only is a mapping of its own.
  const size_t count = sizeof kWanted / sizeof *kWanted;
  for (int flags : {MAP_PRIVATE, MAP_SHARED}) {
    auto* all =
        static_cast<unsigned char*>(mmap(nullptr, count * kSize, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0));
    MUST(all != MAP_FAILED);
    for (size_t i = 0; i < count; ++i) {
      areas.push_back(all + i * kSize);
      if (kWanted[i].mode) MUST(mbind(areas.back(), kWanted[i].mode, kWanted[i].nodes) == 0);
      if (i % 2) workload::fill(areas.back(), kSize, 50 + i);
    }
  }
  workload::ready();
  workload::wait_for_end();
  for (size_t i = 0; i < areas.size(); ++i) {
    expect(policy_of(areas[i]), kWanted[i % count].mode, kWanted[i % count].nodes);
    if (i % count % 2) MUST_BE(workload::differs(areas[i], kSize, 50 + i % count), -1);
  }
  return workload::passed();
}
