// Extended registers between CPUs that keep them at different places. Layouts as CPUID leaf 0xD reports them.
#include "core/arch/xstate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/base/error.h"

namespace mcr::arch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Sapphire Rapids: AVX-512 behind the place of MPX, PKRU at 2688, AMX.
XstateLayout intel() {
  XstateLayout layout;
  layout.components = {{2, {576, 256}}, {5, {1088, 64}},  {6, {1152, 512}},  {7, {1664, 1024}},
                       {9, {2688, 8}},  {17, {2752, 64}}, {18, {2816, 8192}}};
  layout.bytes = 11008;
  layout.mxcsr_mask = 0xffff;
  return layout;
}
// Zen 4: no gap, PKRU at 2432; MXCSR knows bit 17 (misaligned SSE).
XstateLayout amd() {
  XstateLayout layout;
  layout.components = {{2, {576, 256}}, {5, {832, 64}}, {6, {896, 512}}, {7, {1408, 1024}}, {9, {2432, 8}}};
  layout.bytes = 2440;
  layout.mxcsr_mask = 0x2ffff;
  return layout;
}
XstateLayout small() {
  XstateLayout layout;
  layout.components = {{2, {576, 256}}};
  layout.bytes = 832;
  return layout;
}

std::byte pattern(unsigned component, size_t i) {
  return static_cast<std::byte>(component * 37 + i * 3 + 1);
}

std::vector<std::byte> area_of(const XstateLayout& layout, uint64_t in_use) {
  std::vector<std::byte> area(layout.bytes);
  for (size_t i = 0; i < ExtendedState::kLegacyBytes; ++i) area[i] = pattern(0, i);
  const uint32_t mxcsr = 0x1f80;
  std::memcpy(area.data() + 24, &mxcsr, 4);
  std::memcpy(area.data() + 28, &layout.mxcsr_mask, 4);
  std::memcpy(area.data() + 512, &in_use, 8);
  for (const auto& [component, place] : layout.components)
    for (size_t i = 0; i < place.bytes && (in_use >> component & 1); ++i)
      area[place.offset + i] = pattern(component, i);
  return area;
}

constexpr uint64_t kAvx512 = 0xe7, kPkruBit = 1 << 9, kAmx = 3 << 17;

uint64_t in_use_of(const std::vector<std::byte>& area) {
  uint64_t value;
  std::memcpy(&value, area.data() + 512, 8);
  return value;
}

TEST(ArchXstate, ComesBackOnTheSameCpuByteForByte) {
  for (const auto& layout : {intel(), amd(), small()}) {
    uint64_t all = 3;
    for (const auto& [component, place] : layout.components) all |= uint64_t{1} << component;
    const auto area = area_of(layout, all);
    const auto again = compose_xstate(split_xstate(area, layout), layout, area);
    EXPECT_EQ(again, area);
  }
}

TEST(ArchXstate, FindsItsPlacesOnAnotherCpu) {
  const uint64_t used = kAvx512 | kPkruBit;
  for (const auto& [from, to] : {std::pair{intel(), amd()}, std::pair{amd(), intel()}}) {
    const std::vector<std::byte> own(to.bytes);
    EXPECT_EQ(compose_xstate(split_xstate(area_of(from, used), from), to, own), area_of(to, used));
  }
}

TEST(ArchXstate, ComponentsInTheirInitialStateAreNotMissed) {
  const auto state = split_xstate(area_of(intel(), 7), intel());
  EXPECT_THAT(find_misfits(state, small()), IsEmpty());
  EXPECT_EQ(in_use_of(compose_xstate(state, small(), std::vector<std::byte>(small().bytes))), 7u);
}

TEST(ArchXstate, ComponentsThatAreMarkedButZeroAreNotMissed) {
  auto area = area_of(amd(), 7);
  const uint64_t in_use = kAvx512;
  std::memcpy(area.data() + 512, &in_use, 8);
  EXPECT_THAT(find_misfits(split_xstate(area, amd()), small()), IsEmpty());
}

TEST(ArchXstate, NamesWhatTheCpuLacks) {
  const auto state = split_xstate(area_of(intel(), 7 | 1 << 5 | kAmx), intel());
  EXPECT_THAT(find_misfits(state, amd()),
              ElementsAre("uses AMX tile configuration, this CPU has none", "uses AMX tiles, this CPU has none"));
  EXPECT_THAT(find_misfits(state, small()), testing::Contains(HasSubstr("AVX-512 opmask registers")));
  EXPECT_THROW(compose_xstate(state, small(), {}), Error);
  EXPECT_TRUE(uses_tiles(state));
}

TEST(ArchXstate, TheKeysEveryProgramHasDoNotNeedProtectionKeys) {
  auto area = area_of(amd(), 7);
  const uint32_t pkru = 0x55555554;
  std::memcpy(area.data() + 2432, &pkru, 4);
  EXPECT_THAT(find_misfits(split_xstate(area, amd()), small()), IsEmpty());
  const uint32_t other = 0x55555550;
  std::memcpy(area.data() + 2432, &other, 4);
  EXPECT_THAT(find_misfits(split_xstate(area, amd()), small()), ElementsAre(HasSubstr("PKRU")));
}

// XRSTOR with the bit clear would give every key: all of memory open.
TEST(ArchXstate, ProtectionKeysAreAlwaysSet) {
  auto area = area_of(amd(), 7);
  const uint32_t pkru = 0x55555554;
  std::memcpy(area.data() + 2432, &pkru, 4);
  for (const auto& from : {amd(), small()}) {  // saved with the bit clear, and on a CPU without keys
    const auto composed = compose_xstate(split_xstate(area, from), amd(), area);
    EXPECT_EQ(in_use_of(composed), 7u | kPkruBit);
    EXPECT_EQ(std::memcmp(composed.data() + 2432, &pkru, 4), 0);
  }
}

TEST(ArchXstate, HostileStatesAreRefusedByName) {
  const auto good = split_xstate(area_of(amd(), 7), amd());
  auto state = good;
  state.legacy.resize(100);
  EXPECT_THAT(find_misfits(state, amd()), ElementsAre(HasSubstr("no x87")));
  state = good;
  state.legacy[27] = '\x7f';
  EXPECT_THAT(find_misfits(state, amd()), ElementsAre(HasSubstr("MXCSR")));
  state = good;
  state.components[2].resize(9000);
  EXPECT_THAT(find_misfits(state, amd()), ElementsAre(HasSubstr("9000 bytes of AVX")));
  state = good;
  state.in_use |= uint64_t{1} << 62;
  EXPECT_THAT(find_misfits(state, amd()), ElementsAre(HasSubstr("component 62")));
  state = good;
  state.components[4'000'000'000] = "x";
  EXPECT_THAT(find_misfits(state, amd()), ElementsAre(HasSubstr("none")));
}

TEST(ArchXstate, TheHeaderHoldsNothingButTheBits) {
  auto area = area_of(amd(), 7);
  std::fill(area.begin() + 416, area.begin() + 512, std::byte{0xff});
  std::fill(area.begin() + 520, area.begin() + 576, std::byte{0xff});
  const auto composed = compose_xstate(split_xstate(area, amd()), amd(), area);
  for (size_t i = 416; i < 576; ++i)
    if (i < 512 || i >= 520) {
      EXPECT_EQ(composed[i], std::byte{0}) << i;
    }
}

TEST(ArchXstate, AShortAreaIsRefused) {
  const auto area = area_of(amd(), kAvx512);
  for (const size_t n : {size_t{0}, size_t{511}, size_t{519}, size_t{575}, size_t{900}, size_t{2000}})
    EXPECT_THROW(split_xstate(std::span(area).first(n), amd()), Error) << n;
}

TEST(Xstate, PermissionsThatAProcessHasToAskFor) {
  EXPECT_THAT(components_by_permission(0xe7 | 1 << 9), testing::IsEmpty());
  EXPECT_THAT(components_by_permission(0xe7 | 3 << 17), ElementsAre(kTileData));
  EXPECT_THAT(find_missing_permissions(3 << 17, 0xe7),
              ElementsAre("has the permission to use AMX tiles, this CPU has none"));
  EXPECT_THAT(find_missing_permissions(3 << 17, 0xe7 | 3 << 17), testing::IsEmpty());
  EXPECT_THAT(find_missing_permissions(0, 0xe7), testing::IsEmpty());
}

TEST(ArchXstate, TheLayoutOfThisCpuIsSound) {
  const auto& layout = host_layout();
  EXPECT_NE(layout.mxcsr_mask, 0u);
  for (const auto& [component, place] : layout.components) {
    EXPECT_GE(place.offset, 576u) << component;
    EXPECT_LE(place.offset + place.bytes, layout.bytes) << component;
  }
}

}  // namespace
}  // namespace mcr::arch
