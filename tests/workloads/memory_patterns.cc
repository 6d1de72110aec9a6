// Contents of data, bss, heap, large malloc blocks and stack.
#include "contract.h"

namespace {
unsigned char in_data[300'000] = {1, 2, 3};
unsigned char in_bss[700'001];
const char in_rodata[] = "constant text that must still be here";
}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  unsigned char on_stack[200'003];
  std::vector<std::vector<unsigned char>> blocks;
  for (int i = 0; i < 200; ++i) blocks.emplace_back(i < 190 ? 100 + i * 37 : 300'000 + i);
  workload::fill(in_data, sizeof in_data, 1);
  workload::fill(in_bss + 4096, sizeof in_bss - 4096, 2);  // its first page stays zero
  workload::fill(on_stack, sizeof on_stack, 3);
  for (size_t i = 0; i < blocks.size(); ++i) workload::fill(blocks[i].data(), blocks[i].size(), 100 + i);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(workload::differs(in_data, sizeof in_data, 1), -1);
  MUST_BE(workload::differs_from(in_bss, 4096, 0), -1);
  MUST_BE(workload::differs(in_bss + 4096, sizeof in_bss - 4096, 2), -1);
  MUST_BE(workload::differs(on_stack, sizeof on_stack, 3), -1);
  MUST(strcmp(in_rodata, "constant text that must still be here") == 0);
  for (size_t i = 0; i < blocks.size(); ++i)
    MUST_BE(workload::differs(blocks[i].data(), blocks[i].size(), 100 + i), -1);
  std::vector<unsigned char> more(5'000'000, 7);  // the heap still works
  MUST_BE(workload::differs_from(more.data(), more.size(), 7), -1);
  return workload::passed();
}
