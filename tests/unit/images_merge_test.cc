// A chain of two made one image: every page where it was, equal ones stored once.
#include "images/merge.h"

#include "images/format.h"
#include "images/page_content.h"
#include "images/parent_chain.h"
#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

using sample::Folder;
constexpr uint64_t kPage = 4096, kStart = 0x10000;

struct Run {
  image::PageRun::Source source;
  uint64_t page, pages;  // from kStart on
  std::string content;   // of FILE: all of it; of REPEATED: one page
};

std::string pages_of(const std::string& letters) {
  std::string content;
  for (const char c : letters) content += c == '0' ? std::string(kPage, '\0') : std::string(kPage, c);
  return content;
}

image::PageRun record_of(const Run& run, uint64_t& end, int fd) {
  image::PageRun record;
  record.set_source(run.source);
  record.set_start(kStart + run.page * kPage);
  record.set_bytes(run.pages * kPage);
  if (run.content.empty()) return record;
  sys::pwrite_fully(fd, run.content.data(), run.content.size(), end);
  record.set_offset(end);
  record.set_chunk_bytes(run.source == image::PageRun::REPEATED ? kPage : kChunkBytes);
  record.add_checksums(checksum_of(run.content.data(), run.content.size()));
  end += run.content.size();
  return record;
}

void write_memory(const std::string& directory, const std::vector<Run>& runs, const std::string& parent) {
  ImageWriter writer(directory, false);
  sample::write_core(writer, 12, "cat");
  const UniqueFd pages = writer.pages("pages-1.img");
  RecordWriter records = writer.records("mm-12.img");
  image::MemoryMap map;
  map.set_pages_file("pages-1.img");
  map.set_vma_count(1);
  map.set_run_count(runs.size());
  records.append(map);
  image::Vma vma;
  vma.set_start(kStart);
  vma.set_end(kStart + 64 * kPage);
  records.append(vma);
  uint64_t end = kPageFileHeader;
  for (const Run& run : runs) records.append(record_of(run, end, pages.get()));
  records.finish();
  writer.add(records);
  writer.add_pages("pages-1.img", pages.get());
  image::Inventory inventory = sample::inventory_of(12, "host");
  inventory.set_page_size(kPage);
  if (!parent.empty()) {
    inventory.mutable_parent()->set_path("../" + std::filesystem::path(parent).filename().string());
    inventory.mutable_parent()->set_image_id(id_of(ImageReader(parent)));
  }
  writer.commit(inventory);
}

struct Merged {
  std::string letters;  // of each page, "." where there is none
  std::vector<image::PageRun> runs;
};

Merged read_memory(const std::string& directory) {
  const ImageReader reader(directory);
  const PageContent content(reader);
  Merged merged{std::string(64, '.'), {}};
  RecordReader records = reader.records("mm-12.img");
  while (records.next_type()) {
    const auto message = records.read_any();
    if (message->GetDescriptor() != image::PageRun::descriptor()) continue;
    merged.runs.push_back(static_cast<const image::PageRun&>(*message));
    const auto& run = merged.runs.back();
    std::vector<std::byte> bytes(run.bytes());
    content.read({12, "pages-1.img"}, run, run.start(), bytes);
    for (uint64_t at = 0; at < bytes.size(); at += kPage) {
      const char letter = static_cast<char>(bytes[at]);
      merged.letters[(run.start() - kStart + at) / kPage] = letter == '\0' ? '0' : letter;
    }
  }
  return merged;
}

constexpr auto kFile = image::PageRun::FILE;
constexpr auto kZero = image::PageRun::ZERO;
constexpr auto kRepeated = image::PageRun::REPEATED;
constexpr auto kParent = image::PageRun::PARENT;

TEST(Merge, HasEveryPageWhereItWas) {
  const Folder folder;
  const std::string old = folder.path("old"), next = folder.path("next"), merged = folder.path("merged");
  write_memory(old, {{kFile, 0, 4, pages_of("abcd")}, {kRepeated, 4, 6, pages_of("r")}, {kZero, 10, 5, ""}}, "");
  write_memory(
      next, {{kParent, 0, 2, ""}, {kFile, 2, 3, pages_of("xa0")}, {kParent, 5, 8, ""}, {kFile, 20, 1, pages_of("c")}},
      old);
  const MergeReport report = merge(next, merged, false);
  EXPECT_EQ(report.images, 2u);
  std::filesystem::remove_all(old);
  std::filesystem::remove_all(next);
  verify(merged);
  const Merged is = read_memory(merged);
  EXPECT_EQ(is.letters.substr(0, 24), "abxa0rrrrr000.......c...");
  uint64_t stored = 0;
  for (const auto& run : is.runs)
    if (run.source() == kFile) stored += run.bytes() / kPage;
  EXPECT_EQ(stored, 5u);  // a, b, x, r and c; the second "a" and four of "r" are somewhere already
  EXPECT_EQ(report.repeated, 5 * kPage);
  EXPECT_FALSE(ImageReader(merged).inventory().has_parent());
}

TEST(Merge, RefusesWhatItReads) {
  const Folder folder;
  const std::string old = folder.path("old"), next = folder.path("next");
  write_memory(old, {{kFile, 0, 2, pages_of("ab")}}, "");
  write_memory(next, {{kParent, 0, 2, ""}}, old);
  EXPECT_NE(sample::error_of([&] { merge(next, old, false); }).find("is to be merged"), std::string::npos);
  std::string pages = sample::content_of(old + "/pages-1.img");
  pages[kPageFileHeader + 5] ^= 1;
  sample::write_content(old + "/pages-1.img", pages);
  const auto error = sample::error_of([&] { merge(next, folder.path("merged"), false); });
  EXPECT_NE(error.find("pages-1.img at offset 4096"), std::string::npos) << error;
  EXPECT_FALSE(std::filesystem::exists(folder.path("merged")));
}

// Numbers that say much more than there is take neither time nor room.
TEST(Merge, IsNotFooledByHugeRuns) {
  const Folder folder;
  const std::string old = folder.path("old"), next = folder.path("next");
  const uint64_t pages = 1ull << 48;
  write_memory(old, {{kRepeated, 0, pages, pages_of("r")}}, "");
  write_memory(next, {{kParent, 0, pages, ""}}, old);
  EXPECT_EQ(merge(next, folder.path("merged"), false).repeated, (pages - 1) * kPage);
  write_memory(next, {{kFile, 0, pages, pages_of("r")}}, "");
  EXPECT_NE(sample::error_of([&] { merge(next, folder.path("other"), false); }), "");
}

}  // namespace
}  // namespace mcr::images
