#include "core/arch/cpu_features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mcr::arch {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ArchCpuFeatures, WhatGlibcChoosesByIsDemanded) {
  for (const char* flag : {"avx2",     "bmi1",     "bmi2",   "erms2",    "lahf_lm",
                           "movbe",    "rtm",      "sse4_2", "ssse3",    "popcnt",
                           "avx512vl", "avx512bw", "fma",    "fma4",     "abm",
                           "xsavec",   "cx16",     "pni",    "fsgsbase", "rdrand",
                           "sha_ni",   "vaes",     "gfni",   "amx_int8", "a_flag_of_the_future"})
    EXPECT_EQ(kind_of_flag(flag), CpuFlag::instructions) << flag;
  for (const char* flag : {"avx", "avx512f", "amx_tile", "pku"})
    EXPECT_EQ(kind_of_flag(flag), CpuFlag::registers) << flag;
}

TEST(ArchCpuFeatures, WhatOnlyTheKernelUsesIsNot) {
  for (const char* flag : {"ibrs", "constant_tsc", "nopl", "cpuid_fault", "smep", "vmx", "arch_perfmon", "hypervisor",
                           "sgx_lc", "fsrm", "md_clear"}) {
    EXPECT_EQ(kind_of_flag(flag), CpuFlag::kernel) << flag;
    EXPECT_FALSE(reason_not_needed(flag).empty()) << flag;
  }
  EXPECT_TRUE(reason_not_needed("avx2").empty());
  EXPECT_TRUE(reason_not_needed("").empty());
  EXPECT_TRUE(reason_not_needed("ibrs ibpb").empty());
}

TEST(ArchCpuFeatures, TheDemandDecides) {
  const std::vector<std::string> wanted{"fpu", "avx", "avx2", "ibrs", "smep"};
  const std::set<std::string> present{"fpu", "smep"};
  EXPECT_THAT(missing_flags(wanted, present, {}), ElementsAre("avx", "avx2"));
  EXPECT_THAT(missing_flags(wanted, present, {true, false, false}), ElementsAre("avx"));
  EXPECT_THAT(missing_flags(wanted, present, {false, true, false}), ElementsAre("avx2"));
  EXPECT_THAT(missing_flags(wanted, present, {false, false, false}), IsEmpty());
  EXPECT_THAT(missing_flags(wanted, present, {true, true, true}), ElementsAre("avx", "avx2", "ibrs"));
}

}  // namespace
}  // namespace mcr::arch
