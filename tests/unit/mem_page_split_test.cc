// What is stored of pages, where, and what of them is stored once: in the pages file, in the second file, and over
// both.
#include "core/mem/page_split.h"

#include <fcntl.h>

#include <cstring>

#include "core/sys/file.h"
#include "tests/unit/images_sample.h"

namespace mcr::mem {
namespace {

using image::PageRun;
constexpr uint64_t kPage = 4096, kBase = 0x7000000;

class Split : public ::testing::Test {
 protected:
  Split() : writer_(folder_.path("image"), false), pages_(writer_.pages("pages-1.img")), second_(writer_) {
    second_.prepare();
    split_.emplace(pages_.get(), &second_, [this](uint64_t address, std::span<std::byte> out) {
      std::memcpy(out.data(), memory_.data() + (address - kBase), out.size());
      return true;
    });
    split_->expect(64 * kPage);
  }

  // One page a letter; '0' is zeros.
  std::span<const std::byte> content(const std::string& letters) {
    const size_t before = memory_.size();
    memory_.resize(before + letters.size() * kPage);
    for (size_t i = 0; i < letters.size(); ++i)
      for (size_t at = 0; letters[i] != '0' && at < kPage; at += 8)
        std::memset(memory_.data() + before + i * kPage + at, letters[i] + static_cast<int>(at % 13), 8);
    return std::span(memory_).subspan(before);
  }
  uint64_t address_of(std::span<const std::byte> part) const {
    return kBase + static_cast<uint64_t>(part.data() - memory_.data());
  }
  // As "FILE 2, ZERO 1": sources and numbers of pages.
  std::string text_of(const PageSplit::Segments& segments) {
    std::string text;
    for (const auto& s : segments)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", PageRun::Source_Name(s.source), s.bytes / kPage);
    return text;
  }
  std::string to_pages(const std::string& letters) {
    const auto part = content(letters);
    sys::pwrite_fully(pages_.get(), part.data(), part.size(), offset_);
    last_ = split_->in_pages_file(part, address_of(part), offset_, sight_);
    offset_ += part.size();
    return text_of(last_);
  }
  std::string to_second(const std::string& letters) {
    const auto part = content(letters);
    last_ = split_->to_second_file(part, address_of(part), sight_);
    return text_of(last_);
  }
  // What segment `i` has, read where it says.
  std::string stored(size_t i) {
    const auto& segment = last_.at(i);
    std::string text(segment.source == PageRun::REPEATED ? kPage : segment.bytes, '\0');
    const bool in_second = segment.place.stream == 0;
    EXPECT_EQ(sys::pread_whole(in_second ? second_.fd() : pages_.get(), text.data(), text.size(), segment.place.offset),
              text.size());
    EXPECT_EQ(images::checksum_of(text.data(), text.size()), segment.checksum);
    return text;
  }
  std::string as_it_was(size_t i) {
    const auto& segment = last_.at(i);
    const char* at = reinterpret_cast<const char*>(memory_.data()) + (segment.start - kBase);
    return {at, segment.source == PageRun::REPEATED ? kPage : segment.bytes};
  }

  images::sample::Folder folder_;
  images::ImageWriter writer_;
  UniqueFd pages_;
  SecondFile second_;
  std::vector<std::byte> memory_ = [] {
    std::vector<std::byte> m;
    m.reserve(256 * kPage);
    return m;
  }();
  std::optional<PageSplit> split_;
  PageSplit::Sight sight_;
  PageSplit::Segments last_;
  uint64_t offset_ = images::kPageFileHeader;
};

TEST_F(Split, PagesFileLeavesOutZerosAndWhatCameBefore) {
  EXPECT_EQ(to_pages("ab0cab"), "FILE 2, ZERO 1, FILE 1, REPEATED 1, REPEATED 1");
  for (const size_t i : {0, 2, 3, 4}) EXPECT_EQ(stored(i), as_it_was(i)) << i;
  EXPECT_EQ(to_pages("0000"), "ZERO 4");
}

TEST_F(Split, SecondFileTakesNothingThatThePagesFileHas) {
  EXPECT_EQ(to_pages("abc"), "FILE 3");
  EXPECT_EQ(to_second("dbea0"), "STREAMS 1, REPEATED 1, STREAMS 1, REPEATED 1, ZERO 1");
  for (const size_t i : {0, 1, 2, 3}) EXPECT_EQ(stored(i), as_it_was(i)) << i;
}

// A page in the middle of a chunk of a stream has no place of its own: the second time it gets one.
TEST_F(Split, SecondFileStoresAloneWhatComesAgain) {
  EXPECT_EQ(to_second("abc"), "STREAMS 3");
  EXPECT_EQ(to_second("bbbbdbb"), "REPEATED 4, STREAMS 1, REPEATED 2");
  for (const size_t i : {0, 1, 2}) EXPECT_EQ(stored(i), as_it_was(i)) << i;
  EXPECT_EQ(last_[0].place.offset, last_[2].place.offset);
  EXPECT_EQ(last_[0].place.stored, kPage);
}

TEST_F(Split, PagesFileDoesNotNameWhatOnlyAChunkOfTheSecondHas) {
  EXPECT_EQ(to_second("ab"), "STREAMS 2");
  EXPECT_EQ(to_pages("bc"), "FILE 2");
  EXPECT_EQ(to_second("b"), "REPEATED 1");
  EXPECT_EQ(stored(0), as_it_was(0));
}

TEST_F(Split, PagesFileNamesAPageOfTheSecond) {
  to_second("ab"), to_second("b");
  EXPECT_EQ(to_pages("bc"), "REPEATED 1, FILE 1");
  EXPECT_EQ(stored(0), as_it_was(0));
  std::vector<PageRun> runs;
  PageSplit::append(runs, true, last_);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0].chunk_stored_size(), 1);
  EXPECT_EQ(runs[0].offset(), 0U);
  EXPECT_EQ(runs[1].chunk_stored_size(), 0);
}

TEST_F(Split, RunsOfTheSecondFileAreCutWhereAChunkIsShort) {
  std::vector<PageRun> runs;
  to_second("ab");
  PageSplit::append(runs, true, last_);
  to_second("cd");
  PageSplit::append(runs, false, last_);
  ASSERT_EQ(runs.size(), 2U);
  for (const PageRun& run : runs) {
    EXPECT_EQ(run.source(), PageRun::STREAMS);
    EXPECT_EQ(run.checksums_size(), 1);
    EXPECT_EQ(run.chunk_offsets_size(), 1);
    EXPECT_EQ(run.chunk_stored(0), 2 * kPage);
  }
}

}  // namespace
}  // namespace mcr::mem
