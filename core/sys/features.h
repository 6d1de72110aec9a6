// What this kernel, on this host, with the rights of this process can do: found out by trying, never by version, since
// distributions backport, configurations differ, and containers forbid. The version is for the message only.
//
// A probe that could disturb the caller runs in a forked child with a time limit; nothing is left behind: no process,
// no descriptor, no mapping. Call from one thread; SIGCHLD is blocked meanwhile.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mcr::sys {

struct Feature {
  std::string name;  // "pagemap_scan": also what get() takes
  bool available = false;
  std::string why;     // the reason when it is not available
  std::string detail;  // what was found out beside yes or no ("madvise"); mostly empty
  std::string since;   // the kernel version it came with; empty for what is no matter of the kernel's age
  std::string needed_for;
  std::string remedy;     // what the user can do about it
  bool required = false;  // without it programs cannot be dumped and restored at all
};

std::vector<std::string_view> feature_names();
std::vector<Feature> probe_features();         // all of them: 5 to 60 ms
Feature probe_feature(std::string_view name);  // one; throws Error (Fault::internal) on an unknown name
bool can_dump_and_restore(const std::vector<Feature>& features);  // every required one is available

// Asks for each feature at most once, at its first use.
class KernelFeatures {
 public:
  const Feature& get(std::string_view name);
  bool has(std::string_view name) { return get(name).available; }

 private:
  std::map<std::string, Feature, std::less<>> known_;
};

}  // namespace mcr::sys
