// A directory that was read half: the rest comes afterwards, nothing twice.
#include <dirent.h>

#include <set>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string directory = workload::prefix + ".dir";
  MUST(mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST);
  std::set<std::string> expected{".", ".."}, found;
  for (int i = 0; i < 300; ++i) {
    std::string name = "entry-" + std::to_string(i);
    workload::write_file(directory + "/" + name, "");
    expected.insert(name);
  }
  int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY);
  MUST(fd >= 0);
  auto read_some = [&](size_t size) {
    alignas(8) char buffer[65536];
    long got = syscall(SYS_getdents64, fd, buffer, size);
    MUST(got >= 0);
    for (long at = 0; at < got;) {
      auto* entry = reinterpret_cast<struct dirent64*>(buffer + at);
      if (!found.insert(entry->d_name).second) workload::fail("%s came twice", entry->d_name);
      at += entry->d_reclen;
    }
    return got;
  };
  read_some(4096);
  MUST(found.size() > 10 && found.size() < 290);
  workload::ready();
  workload::wait_for_end();
  while (read_some(65536) > 0) {
  }
  if (found != expected) workload::fail("%zu entries instead of %zu", found.size(), expected.size());
  for (auto& name : expected) unlink((directory + "/" + name).c_str());
  rmdir(directory.c_str());
  return workload::passed();
}
