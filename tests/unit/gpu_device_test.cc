#include "gpu/device.h"

#include <gtest/gtest.h>

namespace mcr::gpu {
namespace {

Uuid uuid(unsigned char number) {
  Uuid one;
  one.bytes.fill(number);
  return one;
}

Gpu gpu(unsigned char number, const char* name = "Model T", uint64_t gib = 8) {
  return {uuid(number), name, gib << 30, 9, 0};
}

struct Case {
  std::vector<Problem> problems;
  GpuMap map;
};

Case match(const std::vector<Gpu>& saved, const std::vector<Gpu>& present, const GpuMap& wanted = {}) {
  Case result;
  result.map = match_gpus(saved, present, wanted, result.problems);
  return result;
}

TEST(GpuUuid, ReadsWhatItWrites) {
  Uuid one;
  for (size_t i = 0; i < one.bytes.size(); ++i) one.bytes[i] = static_cast<unsigned char>(i * 17);
  EXPECT_EQ(to_text(one), "GPU-00112233-4455-6677-8899-aabbccddeeff");
  EXPECT_EQ(parse_uuid(to_text(one)), one);
  EXPECT_EQ(parse_uuid("00112233445566778899AABBCCDDEEFF"), one);
  for (const char* text : {"", "GPU-", "GPU-0011", "GPU-00112233-4455-6677-8899-aabbccddeefg",
                           "GPU-00112233-4455-6677-8899-aabbccddeeff00"})
    EXPECT_FALSE(parse_uuid(text)) << text;
}

TEST(GpuMatch, WhatIsHereStays) {
  const Case all = match({gpu(1), gpu(2)}, {gpu(2), gpu(1), gpu(3)});
  EXPECT_TRUE(all.problems.empty());
  EXPECT_TRUE(all.map.empty());
}

TEST(GpuMatch, OneThatIsNotHereGoesWhereThereIsOneWay) {
  const Case one = match({gpu(1), gpu(2)}, {gpu(1), gpu(7)});
  EXPECT_TRUE(one.problems.empty());
  EXPECT_EQ(one.map, (GpuMap{{uuid(1), uuid(1)}, {uuid(2), uuid(7)}}));
  EXPECT_EQ(match({gpu(1, "A"), gpu(2, "B")}, {gpu(8, "B"), gpu(9, "A")}).map,
            (GpuMap{{uuid(1), uuid(9)}, {uuid(2), uuid(8)}}));
}

TEST(GpuMatch, TwoWaysAreNotGuessed) {
  const Case two = match({gpu(1)}, {gpu(7), gpu(8)});
  ASSERT_EQ(two.problems.size(), 1U);
  EXPECT_NE(two.problems[0].remedy.find("--gpu-map " + to_text(uuid(1))), std::string::npos);
  EXPECT_EQ(match({gpu(1), gpu(2)}, {gpu(7), gpu(8)}).problems.size(), 2U);
  EXPECT_EQ(match({gpu(1), gpu(2)}, {gpu(7), gpu(8)}, {{uuid(1), uuid(8)}, {uuid(2), uuid(7)}}).problems.size(), 0U);
}

TEST(GpuMatch, AnotherChipOrLessMemoryIsNone) {
  EXPECT_EQ(match({gpu(1)}, {gpu(7, "Model S")}).problems.size(), 1U);
  EXPECT_EQ(match({gpu(1)}, {gpu(7, "Model T", 4)}).problems.size(), 1U);
  EXPECT_EQ(match({gpu(1)}, {}).problems.size(), 1U);
  EXPECT_TRUE(match({gpu(1)}, {gpu(7, "Model T", 16)}).problems.empty());
}

TEST(GpuMatch, WrongWishesAreTold) {
  EXPECT_EQ(match({gpu(1)}, {gpu(1)}, {{uuid(5), uuid(1)}}).problems.size(), 1U);
  EXPECT_EQ(match({gpu(1)}, {gpu(1)}, {{uuid(1), uuid(5)}}).problems.size(), 1U);
  EXPECT_EQ(match({gpu(1)}, {gpu(1), gpu(2, "Model S")}, {{uuid(1), uuid(2)}}).problems.size(), 1U);
  EXPECT_EQ(match({gpu(1), gpu(2)}, {gpu(7), gpu(8)}, {{uuid(1), uuid(7)}, {uuid(2), uuid(7)}}).problems.size(), 1U);
}

}  // namespace
}  // namespace mcr::gpu
