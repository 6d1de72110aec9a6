// What /proc/self says about the program: command line, environment, auxiliary vector, executable, name, boundaries.
#include <sys/auxv.h>
#include <sys/prctl.h>

#include "contract.h"

namespace {

struct View {
  std::string command_line, environment, auxv, executable, name, boundaries;
};

View look() {
  View view;
  view.command_line = workload::read_file("/proc/self/cmdline");
  view.environment = workload::read_file("/proc/self/environ");
  view.auxv = workload::read_file("/proc/self/auxv");
  view.name = workload::read_file("/proc/self/comm");
  char link[4096];
  ssize_t length = readlink("/proc/self/exe", link, sizeof link);
  MUST(length > 0);
  view.executable.assign(link, length);
  // start_code, end_code, start_stack and start_data .. env_end of proc(5)
  std::string stat = workload::read_file("/proc/self/stat");
  size_t field = 2, at = stat.rfind(')') + 2;
  while (at < stat.size() && field < 52) {
    size_t end = stat.find(' ', at);
    if (end == std::string::npos) end = stat.size();
    ++field;
    if ((field >= 26 && field <= 28) || (field >= 45 && field <= 51))
      view.boundaries += stat.substr(at, end - at) + " ";
    at = end + 1;
  }
  return view;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  unsigned long random = getauxval(AT_RANDOM), header = getauxval(AT_SYSINFO_EHDR);
  View before = look();
  unsigned char seed[16];
  memcpy(seed, reinterpret_cast<void*>(random), 16);
  workload::ready();
  workload::wait_for_end();
  View after = look();
  MUST(after.command_line == before.command_line && before.command_line.find(workload::prefix) != std::string::npos);
  MUST(after.environment == before.environment);
  MUST(after.auxv == before.auxv && !before.auxv.empty());
  MUST(after.name == before.name);
  if (after.executable != before.executable) workload::fail("the executable is %s now", after.executable.c_str());
  if (after.boundaries != before.boundaries)
    workload::fail("boundaries were %s and are %s", before.boundaries.c_str(), after.boundaries.c_str());
  MUST(getauxval(AT_SYSINFO_EHDR) == header);
  MUST(memcmp(reinterpret_cast<void*>(random), seed, 16) == 0);
  return workload::passed();
}
