// The content of a run of pages, whatever its source, and what is said of numbers that no dump could have written.
#include "images/page_content.h"

#include <lz4.h>

#include <cstring>
#include <functional>
#include <numeric>

#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

using image::PageRun;
using sample::error_of;
using sample::Folder;

constexpr uint64_t kPageBytes = 4096, kAddress = 0x700000;

std::string text_of_chunk(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('a' + i / 7 % 20 + (i >> 12) % 5);
  return text;
}

// A pages file of two pages and two streams: a raw chunk of a page in the first, a block of three pages in the second.
class StoredPages : public ::testing::Test {
 protected:
  StoredPages() {
    ImageWriter writer(folder.path("image"), false);
    add(writer, "pages-1.img", text.substr(0, 2 * kPageBytes));
    packed.resize(static_cast<size_t>(LZ4_compressBound(3 * kPageBytes)));
    packed.resize(static_cast<size_t>(
        LZ4_compress_default(text.data(), packed.data(), 3 * kPageBytes, static_cast<int>(packed.size()))));
    add(writer, "img-0.lz4", text.substr(3 * kPageBytes, kPageBytes));
    add(writer, "img-1.lz4", packed);
    image::Inventory inventory = sample::inventory_of(12, "host");
    inventory.set_page_size(kPageBytes);
    inventory.add_streams("img-0.lz4"), inventory.add_streams("img-1.lz4");
    writer.commit(inventory);
  }
  static void add(ImageWriter& writer, const std::string& name, const std::string& bytes) {
    const UniqueFd fd = writer.pages(name);
    sys::pwrite_fully(fd.get(), bytes.data(), bytes.size(), kPageFileHeader);
    writer.add_pages(name, fd.get());
  }
  PageRun run(PageRun::Source source, uint64_t pages, uint32_t chunk_bytes) const {
    PageRun result;
    result.set_source(source), result.set_start(kAddress), result.set_bytes(pages * kPageBytes);
    result.set_chunk_bytes(chunk_bytes);
    return result;
  }
  void add_checksum(PageRun& to, size_t at, size_t bytes) const {
    to.add_checksums(checksum_of(text.data() + at, bytes));
  }
  static void add_place(PageRun& to, uint32_t stream, uint64_t offset, size_t stored) {
    to.add_chunk_streams(stream), to.add_chunk_offsets(offset), to.add_chunk_stored(static_cast<uint32_t>(stored));
  }
  PageRun in_file() const {
    PageRun result = run(PageRun::FILE, 2, kPageBytes);
    result.set_offset(kPageFileHeader);
    add_checksum(result, 0, kPageBytes), add_checksum(result, kPageBytes, kPageBytes);
    return result;
  }
  PageRun repeated() const {
    PageRun result = run(PageRun::REPEATED, 5, kPageBytes);
    result.set_offset(kPageFileHeader + kPageBytes);
    add_checksum(result, kPageBytes, kPageBytes);
    return result;
  }
  PageRun in_streams() const {  // three pages packed, then one raw
    PageRun result = run(PageRun::STREAMS, 4, 3 * kPageBytes);
    add_checksum(result, 0, 3 * kPageBytes), add_checksum(result, 3 * kPageBytes, kPageBytes);
    add_place(result, 1, kPageFileHeader, packed.size()), add_place(result, 0, kPageFileHeader, kPageBytes);
    return result;
  }
  PageRun repeated_in_stream() const {
    PageRun result = run(PageRun::REPEATED, 3, kPageBytes);
    add_checksum(result, 3 * kPageBytes, kPageBytes);
    add_place(result, 0, kPageFileHeader, kPageBytes);
    return result;
  }
  std::string read(const PageRun& from, uint64_t skipped, size_t bytes, const ParentPages* parent = nullptr) const {
    const ImageReader reader(folder.path("image"));
    const PageContent content(reader, parent);
    content.check_shape(owner, from);
    std::string out(bytes, '?');
    content.read(owner, from, from.start() + skipped, std::as_writable_bytes(std::span(out)));
    return out;
  }

  const Folder folder;
  const MemoryOwner owner{12, "pages-1.img"};
  const std::string text = text_of_chunk(4 * kPageBytes);
  std::string packed;
};

TEST_F(StoredPages, AreReadFromWhereverTheyLie) {
  EXPECT_EQ(read(in_file(), 0, 2 * kPageBytes), text.substr(0, 2 * kPageBytes));
  EXPECT_EQ(read(run(PageRun::ZERO, 2, 0), 0, 2 * kPageBytes), std::string(2 * kPageBytes, '\0'));
  std::string five;
  for (int i = 0; i < 5; ++i) five += text.substr(kPageBytes, kPageBytes);
  EXPECT_EQ(read(repeated(), 0, 5 * kPageBytes), five);
  EXPECT_EQ(read(in_streams(), 0, 4 * kPageBytes), text);
  EXPECT_EQ(read(repeated_in_stream(), kPageBytes, kPageBytes), text.substr(3 * kPageBytes));
}

TEST_F(StoredPages, AnyPartOfARunCanBeRead) {
  for (const auto& [skipped, bytes] : {std::pair<uint64_t, size_t>{0, 1},
                                       {100, 200},
                                       {kPageBytes - 1, 2},
                                       {kPageBytes, kPageBytes},
                                       {5, 2 * kPageBytes - 6}}) {
    EXPECT_EQ(read(in_file(), skipped, bytes), text.substr(skipped, bytes)) << skipped;
    EXPECT_EQ(read(in_streams(), skipped + kPageBytes, bytes), text.substr(skipped + kPageBytes, bytes)) << skipped;
  }
  EXPECT_EQ(read(repeated(), kPageBytes - 10, 20), text.substr(2 * kPageBytes - 10, 10) + text.substr(kPageBytes, 10));
}

TEST_F(StoredPages, OfTheParentComeFromThere) {
  struct Parent : ParentPages {
    void read(const MemoryOwner& of, uint32_t shared, uint64_t start, std::span<std::byte> out) const override {
      EXPECT_EQ(of.pid, 12);
      EXPECT_EQ(shared, 3u);
      EXPECT_EQ(start, kAddress + kPageBytes);
      std::memset(out.data(), 'p', out.size());
    }
  } parent;
  PageRun from = run(PageRun::PARENT, 2, 0);
  from.set_shared(3);
  EXPECT_EQ(read(from, kPageBytes, 10, &parent), std::string(10, 'p'));
  const std::string error = error_of([&] { read(from, 0, kPageBytes); });
  EXPECT_NE(error.find("mm-12.img: the run at 0x700000 of shared memory 3 has its content in the parent image"),
            std::string::npos)
      << error;
}

TEST_F(StoredPages, DamageIsToldWithFileAndOffset) {
  PageRun wrong = in_streams();
  wrong.set_checksums(1, 1);
  EXPECT_NE(error_of([&] { read(wrong, 0, 4 * kPageBytes); }).find("img-0.lz4 at offset 4096"), std::string::npos);
  EXPECT_NE(error_of([&] { read(wrong, 3 * kPageBytes + 5, 9); }).find("img-0.lz4 at offset 4096"), std::string::npos);
  wrong = in_streams();  // one byte less is no block of as many bytes
  wrong.set_chunk_stored(0, wrong.chunk_stored(0) - 1);
  EXPECT_NE(error_of([&] { read(wrong, 0, kPageBytes); }).find("no LZ4 block"), std::string::npos);
  wrong = in_streams();  // a block of three pages, said to be of two
  wrong.set_chunk_bytes(2 * kPageBytes), wrong.set_bytes(4 * kPageBytes);
  EXPECT_NE(error_of([&] { read(wrong, 0, 2 * kPageBytes); }).find("no LZ4 block"), std::string::npos);
  wrong = repeated();
  wrong.set_checksums(0, 1);
  EXPECT_NE(error_of([&] { read(wrong, 0, 10); }).find("pages-1.img at offset 8192"), std::string::npos);
  wrong = in_file();
  wrong.set_checksums(1, 1);
  EXPECT_EQ(error_of([&] { read(wrong, 0, kPageBytes); }), "");  // the first chunk is whole
  EXPECT_NE(error_of([&] { read(wrong, kPageBytes + 7, 1); }).find("pages-1.img at offset 8192"), std::string::npos);
}

class BadRuns : public StoredPages {
 protected:
  void expect(PageRun bad, const std::function<void(PageRun&)>& change, const std::string& what) const {
    change(bad);
    const std::string error = error_of([&] { read(bad, 0, kPageBytes); });
    EXPECT_NE(error.find(what), std::string::npos) << what << ": " << error;
    const ImageReader reader(folder.path("image"));  // what is not checked before must do no harm either
    const PageContent content(reader);
    std::string out(kPageBytes, '?');
    error_of([&] { content.read(owner, bad, bad.start(), std::as_writable_bytes(std::span(out))); });
  }
};

TEST_F(BadRuns, InThePagesFile) {
  expect(
      in_file(), [](PageRun& r) { r.set_source(static_cast<PageRun::Source>(9)); }, "source 9");
  expect(
      in_file(), [](PageRun& r) { r.set_offset(0); }, "outside of its file");
  expect(
      in_file(), [](PageRun& r) { r.set_offset(kPageFileHeader + 1); }, "outside of its file");
  expect(
      in_file(), [](PageRun& r) { r.set_offset(~0ULL - 4095); }, "outside of its file");
  expect(
      in_file(), [](PageRun& r) { r.set_chunk_bytes(0); }, "impossible chunk_bytes");
  expect(
      in_file(), [](PageRun& r) { r.set_chunk_bytes(100); }, "impossible chunk_bytes");
  expect(
      in_file(), [](PageRun& r) { r.set_chunk_bytes(1u << 31); }, "impossible chunk_bytes");
  expect(
      in_file(), [](PageRun& r) { r.add_checksums(1); }, "has 3 of 2 checksums");
  expect(
      in_file(), [](PageRun& r) { r.add_chunk_streams(1); }, "in the pages file and in streams");
  expect(
      in_file(), [](PageRun& r) { r.add_chunk_offsets(1); }, "in the pages file and in streams");
  expect(
      in_file(), [](PageRun& r) { r.add_chunk_stored(1); }, "in the pages file and in streams");
}

TEST_F(BadRuns, OfNothing) {
  for (const auto source : {PageRun::ZERO, PageRun::PARENT}) {
    expect(
        run(source, 1, 0), [](PageRun& r) { r.set_offset(4096); }, "stores nothing");
    expect(
        run(source, 1, 0), [](PageRun& r) { r.set_chunk_bytes(4096); }, "stores nothing");
    expect(
        run(source, 1, 0), [](PageRun& r) { r.add_checksums(1); }, "stores nothing");
    expect(
        run(source, 1, 0), [](PageRun& r) { r.add_chunk_streams(0); }, "stores nothing");
  }
  expect(
      repeated(), [](PageRun& r) { r.set_chunk_bytes(8192); }, "repeats a page of 8192");
  expect(
      repeated(), [](PageRun& r) { r.set_offset(kPageFileHeader + 2 * kPageBytes); }, "outside of its file");
  expect(
      repeated(), [](PageRun& r) { r.add_checksums(2); }, "has 2 of 1 checksums");
}

TEST_F(BadRuns, InStreams) {
  expect(
      repeated_in_stream(), [](PageRun& r) { r.add_chunk_streams(0); }, "has 1 chunks, but 2 streams");
  expect(
      repeated_in_stream(), [](PageRun& r) { r.set_offset(4096); }, "lies in streams and has an offset");
  expect(
      in_streams(), [](PageRun& r) { r.set_offset(4096); }, "lies in streams and has an offset");
  expect(
      in_streams(), [](PageRun& r) { r.set_chunk_bytes(2u << 20); }, "impossible chunk_bytes");
  expect(
      in_streams(), [](PageRun& r) { r.set_chunk_streams(1, 2); }, "names stream 2 of 2");
  expect(
      in_streams(), [](PageRun& r) { r.mutable_chunk_streams()->RemoveLast(); }, "1 streams, 2 offsets");
  expect(
      in_streams(), [](PageRun& r) { r.add_chunk_offsets(1); }, "3 offsets");
  expect(
      in_streams(), [](PageRun& r) { r.add_chunk_stored(1); }, "3 sizes");
  expect(
      in_streams(), [](PageRun& r) { r.set_chunk_stored(0, 0); }, "that takes 0");
  expect(
      in_streams(), [](PageRun& r) { r.set_chunk_stored(1, 4097); }, "that takes 4097");
  expect(
      in_streams(), [](PageRun& r) { r.set_chunk_offsets(0, 8); }, "bytes at 8 of stream 1");
  expect(
      in_streams(), [](PageRun& r) { r.set_chunk_offsets(0, ~0ULL); }, "of stream 1");
  expect(
      in_streams(), [](PageRun& r) { r.set_chunk_offsets(0, kPageFileHeader + 1); }, "of stream 1");
}

TEST_F(StoredPages, StreamsAreFilesOfTheInventoryAndNamedOnce) {
  const auto open = [&](std::vector<std::string> names) {
    const Folder other;
    {
      ImageWriter writer(other.path("image"), false);
      add(writer, "a", "x");
      image::Inventory inventory = sample::inventory_of(12, "host");
      for (const auto& name : names) inventory.add_streams(name);
      writer.commit(inventory);
    }
    return error_of([&] {
      const ImageReader reader(other.path("image"));
      PageContent content(reader);
    });
  };
  EXPECT_EQ(open({"a"}), "");
  EXPECT_NE(open({"b"}).find("has no stream b"), std::string::npos);
  EXPECT_NE(open({"a", "a"}).find("two streams"), std::string::npos);
  EXPECT_NE(open(std::vector<std::string>(65, "a")).find("65 streams"), std::string::npos);
}

}  // namespace
}  // namespace mcr::images
