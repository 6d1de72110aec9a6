// Every byte of every stretch comes once, in whole chunks, whoever takes from which end.
#include "core/mem/chunk_queue.h"

#include <gtest/gtest.h>

#include <random>

namespace mcr::mem {
namespace {

constexpr uint64_t kChunk = 1 << 20, kPage = 4096;

std::vector<PageSource> some_sources(std::mt19937& chance) {
  std::vector<PageSource> sources;
  uint64_t at = 0x10000;
  for (auto count = chance() % 8; count > 0; --count) {
    const uint64_t bytes = (1 + chance() % (chance() % 2 ? 4 : 2000)) * kPage;
    sources.push_back({at, bytes, chance() % 4 != 0});
    at += bytes + chance() % 2 * kPage;
  }
  return sources;
}

void expect_chunk_of(const MemoryChunk& chunk, const std::vector<PageSource>& sources) {
  const auto source = std::ranges::find_if(
      sources, [&](const PageSource& s) { return s.start <= chunk.address && chunk.address < s.start + s.bytes; });
  ASSERT_NE(source, sources.end());
  EXPECT_EQ((chunk.address - source->start) % kChunk, 0U);
  EXPECT_EQ(chunk.bytes, std::min(kChunk, source->start + source->bytes - chunk.address));
  EXPECT_EQ(chunk.readable, source->readable);
  EXPECT_EQ(chunk.begins, chunk.address == source->start);
}

TEST(ChunkQueue, BothEndsMeetAndMissNothing) {
  std::mt19937 chance(7);
  for (int round = 0; round < 2000; ++round) {
    const auto sources = some_sources(chance);
    ChunkQueue queue(sources, kChunk);
    std::vector<MemoryChunk> front, back;
    uint64_t left = queue.left();
    while (queue.left() != 0) {
      if (chance() % 2) {
        const auto taken = queue.take_front(1 + chance() % (3 * kChunk), 1 + chance() % 5);
        ASSERT_FALSE(taken.empty());
        front.insert(front.end(), taken.begin(), taken.end());
      } else {
        back.push_back(queue.take_back());
      }
      ASSERT_LT(queue.left(), left);
      left = queue.left();
    }
    EXPECT_TRUE(queue.take_front(kChunk, 1).empty());
    front.insert(front.end(), back.rbegin(), back.rend());
    uint64_t bytes = 0;
    for (size_t i = 0; i < front.size(); ++i) {
      expect_chunk_of(front[i], sources);
      const uint64_t end_before = i > 0 ? front[i - 1].address + front[i - 1].bytes : 0;
      EXPECT_GE(front[i].address, end_before) << "round " << round;
      bytes += front[i].bytes;
    }
    uint64_t all = 0;
    for (const PageSource& source : sources) all += source.bytes;
    EXPECT_EQ(bytes, all) << "round " << round;
  }
}

TEST(ChunkQueue, FrontStopsAtWhatWasAskedFor) {
  const std::vector<PageSource> sources{{0x100000, 10 * kChunk + kPage, true}};
  ChunkQueue queue(sources, kChunk);
  EXPECT_EQ(queue.take_front(3 * kChunk, 100).size(), 3U);
  EXPECT_EQ(queue.take_front(3 * kChunk, 2).size(), 2U);
  EXPECT_EQ(queue.take_back().bytes, kPage);
  EXPECT_EQ(queue.take_front(100 * kChunk, 100).size(), 5U);
  EXPECT_EQ(queue.left(), 0U);
}

}  // namespace
}  // namespace mcr::mem
