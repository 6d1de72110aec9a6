// Attributes that are files of /proc: coredump filter, OOM adjustment, the nice value of the session's scheduling
// group.
#include "contract.h"

namespace {

void put(const char* name, const char* text) {
  int fd = open((std::string("/proc/self/") + name).c_str(), O_WRONLY);
  MUST(fd >= 0);
  if (write(fd, text, strlen(text)) < 0) workload::fail("%s: %s", name, strerror(errno));
  close(fd);
}

std::string get(const char* name) {
  return workload::read_file(std::string("/proc/self/") + name);
}

// "/autogroup-12 nice 5": the number is another one after a restore.
std::string group_nice() {
  std::string text = get("autogroup");
  size_t at = text.find(" nice ");
  return at == std::string::npos ? text : text.substr(at);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  put("coredump_filter", "0x7f");
  put("oom_score_adj", "321");
  if (!get("autogroup").empty()) put("autogroup", "5");
  if (int fd = open("/proc/self/loginuid", O_WRONLY); fd >= 0) {
    if (write(fd, "4321", 4) == 4) MUST(get("loginuid") == "4321");  // where it may be set
    close(fd);
  }
  std::string nice = group_nice(), login = get("loginuid");
  workload::ready();
  workload::wait_for_end();
  MUST(get("coredump_filter") == "0000007f\n");
  MUST(get("oom_score_adj") == "321\n");
  if (group_nice() != nice) workload::fail("autogroup: %s, not %s", group_nice().c_str(), nice.c_str());
  if (get("loginuid") != login) workload::fail("login uid %s, not %s", get("loginuid").c_str(), login.c_str());
  return workload::passed();
}
