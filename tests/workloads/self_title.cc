// A program that renamed itself as setproctitle does: the argument area moved, the name changed.
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "contract.h"

namespace {

// Reads field `wanted` (proc(5) numbering) of /proc/self/stat.
uint64_t stat_field(int wanted) {
  std::string stat = workload::read_file("/proc/self/stat");
  size_t at = stat.rfind(')') + 2;
  for (int field = 3; field < wanted; ++field) at = stat.find(' ', at) + 1;
  return strtoull(stat.c_str() + at, nullptr, 10);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const char title[] = "worker: idle\0second part";
  auto* area = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(area != MAP_FAILED);
  memcpy(area, title, sizeof title);
  prctl_mm_map map{};
  map.start_code = stat_field(26), map.end_code = stat_field(27), map.start_stack = stat_field(28);
  map.start_data = stat_field(45), map.end_data = stat_field(46), map.start_brk = stat_field(47);
  map.brk = reinterpret_cast<uint64_t>(sbrk(0));
  map.arg_start = reinterpret_cast<uint64_t>(area), map.arg_end = map.arg_start + sizeof title;
  map.env_start = stat_field(50), map.env_end = stat_field(51);
  map.exe_fd = ~0u;
  if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) != 0) {
    if (errno == EPERM) workload::skip("PR_SET_MM_MAP is not permitted here");
    workload::fail("PR_SET_MM_MAP: %s", strerror(errno));
  }
  MUST(prctl(PR_SET_NAME, "odd) (name") == 0);
  std::string expected(title, sizeof title);
  MUST(workload::read_file("/proc/self/cmdline") == expected);
  std::string environment = workload::read_file("/proc/self/environ");
  workload::ready();
  workload::wait_for_end();
  MUST(workload::read_file("/proc/self/cmdline") == expected);
  MUST(workload::read_file("/proc/self/environ") == environment);
  MUST(workload::read_file("/proc/self/comm") == "odd) (name\n");
  return workload::passed();
}
