// The probes of kernel features: what they say on a recent kernel as root, and that they leave nothing behind.
#include "core/sys/features.h"

#include <gtest/gtest.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <set>

#include "core/base/error.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

std::set<std::string> open_fds() {
  std::set<std::string> fds;
  for (const std::string& name : list_directory("/proc/self/fd"))
    if (try_read_link("/proc/self/fd/" + name)) fds.insert(name);  // not that of the listing itself
  return fds;
}

std::string children() {
  return read_text("/proc/thread-self/children");
}

size_t mapping_count() {
  size_t lines = 0;
  for (const char c : read_text("/proc/self/maps")) lines += c == '\n';
  return lines;
}

bool kernel_is_at_least(int major, int minor) {
  utsname name = {};
  int have_major = 0, have_minor = 0;
  uname(&name);
  if (std::sscanf(name.release, "%d.%d", &have_major, &have_minor) != 2) return false;
  return have_major != major ? have_major > major : have_minor >= minor;
}

const Feature* find(const std::vector<Feature>& features, std::string_view name) {
  for (const Feature& feature : features)
    if (feature.name == name) return &feature;
  return nullptr;
}

}  // namespace

TEST(Features, HoldsOnRecentKernelAsRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  if (!kernel_is_at_least(6, 7)) GTEST_SKIP() << "needs Linux 6.7";
  const std::vector<Feature> features = probe_features();
  EXPECT_TRUE(can_dump_and_restore(features));
  for (const char* name : {"ptrace_seize",    "ptrace_peeksiginfo", "ptrace_rseq",
                           "ptrace_xstate",   "process_vm_readv",   "proc_mem_write",
                           "pidfd_open",      "pidfd_getfd",        "kcmp",
                           "clone3_set_tid",  "set_mm_map",         "map_files",
                           "pagemap_scan",    "userfaultfd",        "userfaultfd_wp_async",
                           "get_tid_address", "tee_splice",         "memfd_create",
                           "proc_timers",     "cap_sys_ptrace",     "cap_checkpoint_restore"}) {
    const Feature* feature = find(features, name);
    ASSERT_NE(feature, nullptr) << name;
    EXPECT_TRUE(feature->available) << name << ": " << feature->why;
  }
}

TEST(Features, NewerOnesHoldWhereTheKernelHasThem) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  KernelFeatures features;
  for (const auto& [minor, name] : {std::pair(8, "userfaultfd_move"), std::pair(15, "timer_restore_ids")}) {
    if (!kernel_is_at_least(6, minor)) continue;
    EXPECT_TRUE(features.has(name)) << name << ": " << features.get(name).why;
  }
}

TEST(Features, LeaveNothingBehind) {
  probe_features();  // the allocator and lazy symbol binding settle
  const std::set<std::string> fds = open_fds();
  const std::string kids = children();
  [[maybe_unused]] const size_t mappings = mapping_count();
  const std::vector<Feature> features = probe_features();
  EXPECT_EQ(open_fds(), fds);
  EXPECT_EQ(children(), kids);
#ifndef __SANITIZE_ADDRESS__  // whose allocator maps memory when it pleases
  EXPECT_EQ(mapping_count(), mappings);
#endif
  EXPECT_EQ(features.size(), feature_names().size());
}

TEST(Features, SayWhyAndWhatToDo) {
  std::set<std::string> names;
  for (const Feature& feature : probe_features()) {
    EXPECT_TRUE(names.insert(feature.name).second) << feature.name;
    EXPECT_EQ(feature.available, feature.why.empty()) << feature.name << ": " << feature.why;
    EXPECT_FALSE(feature.needed_for.empty()) << feature.name;
    EXPECT_FALSE(feature.remedy.empty()) << feature.name;
  }
}

TEST(Features, ARequiredOneThatIsMissingDecides) {
  Feature required, optional;
  required.required = required.available = true;
  EXPECT_TRUE(can_dump_and_restore({required, optional}));
  required.available = false;
  EXPECT_FALSE(can_dump_and_restore({required, optional}));
}

TEST(Features, UnknownNameIsADefect) {
  try {
    probe_feature("warp_drive");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::internal);
  }
}

}  // namespace mcr::sys
