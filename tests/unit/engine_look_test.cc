#include "core/engine/look.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mcr::engine {
namespace {

TEST(Look, TagsInAddresses) {
  const auto said = [](const std::string& text) -> std::string {
    try {
      refuse_tagged_addresses(text);
      return {};
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(said("Name:\ta\nCpus_allowed:\t3\n"), "");
  EXPECT_EQ(said("Name:\ta\nuntag_mask:\t0xffffffffffffffff\nCpus_allowed:\t3\n"), "");
  EXPECT_THAT(said("Name:\ta\nuntag_mask:\t0x81ffffffffffffff\nCpus_allowed:\t3\n"),
              testing::HasSubstr("linear address masking, untag mask 0x81ffffffffffffff)"));
}

}  // namespace
}  // namespace mcr::engine
