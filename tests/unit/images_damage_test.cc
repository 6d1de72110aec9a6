// Damaged, foreign and crafted images: each is refused, with the place where it is damaged.
#include <sys/stat.h>

#include <filesystem>
#include <functional>

#include "images/format.h"
#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

using sample::content_of;
using sample::error_of;
using sample::Folder;
using sample::write_content;

std::string header() {
  return encode_header(FileKind::records, std::string(kImageIdBytes, 'i'));
}

std::string framed(std::string_view type, std::string_view payload) {
  std::string bytes;
  append_number(bytes, static_cast<uint32_t>(payload.size()));
  append_number(bytes, static_cast<uint16_t>(type.size()));
  bytes.append(type).append(payload);
  append_number(bytes, checksum_of(bytes.data(), bytes.size()));
  return bytes;
}

std::string closing(uint64_t count) {
  std::string payload;
  append_number(payload, count);
  return framed({}, payload);
}

void read_records(const std::string& bytes) {
  RecordReader reader(bytes, "x.img");
  while (reader.next_type()) reader.read_any();
}

void read_image(const std::string& directory) {
  const ImageReader reader(directory);
  for (const auto& file : reader.inventory().files()) {
    if (file.checksum() == 0) {
      reader.pages(file.name());
    } else {
      RecordReader records = reader.records(file.name());
      while (records.next_type()) records.read_any();
    }
  }
}

TEST(ImageDamage, TruncationAtEveryByte) {
  image::Descriptor descriptor;
  descriptor.set_fd(3);
  const std::string record = framed("mcr.image.Descriptor", descriptor.SerializeAsString());
  const std::string whole = header() + record + record + closing(2);
  EXPECT_EQ(error_of([&] { read_records(whole); }), "");
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_NE(error_of([&] { read_records(whole.substr(0, size)); }), "") << size;
  EXPECT_NE(error_of([&] { read_records(whole + '\0'); }), "");
}

// Flips every bit of `name`; every one must be refused by `read`.
void flip_every_bit(const Folder& folder, const std::string& name, size_t from, size_t to,
                    const std::function<void(const std::string&)>& read) {
  const std::string path = folder.path("image/" + name), good = content_of(path);
  const UniqueFd fd = sys::open(path, O_WRONLY);
  for (size_t at = from; at < std::min(to, good.size()); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      const char bad = static_cast<char>(good[at] ^ (1 << bit));
      sys::pwrite_fully(fd.get(), &bad, 1, at);
      ASSERT_NE(error_of([&] { read(folder.path("image")); }), "") << name << " byte " << at << " bit " << bit;
    }
    sys::pwrite_fully(fd.get(), &good[at], 1, at);
  }
}

TEST(ImageDamage, EveryFlippedBitIsFoundByVerify) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path("image")))
    flip_every_bit(folder, entry.path().filename(), 0, SIZE_MAX, [](const std::string& path) { verify(path); });
  verify(folder.path("image"));
}

TEST(ImageDamage, EveryFlippedBitIsFoundByReading) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path("image"))) {
    const std::string name = entry.path().filename();
    // The pages themselves are checked by whoever reads them, chunk by chunk.
    flip_every_bit(folder, name, 0, name == "pages-1.img" ? kPageFileHeader : SIZE_MAX, read_image);
  }
}

TEST(ImageDamage, NamesFileAndOffset) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  std::string pages = content_of(folder.path("image/pages-1.img"));
  pages[kPageFileHeader + 2 * sample::kPage + 7] ^= 1;
  write_content(folder.path("image/pages-1.img"), pages);
  const std::string text = error_of([&] { verify(folder.path("image")); });
  EXPECT_NE(text.find("pages-1.img at offset 5120: checksum differs"), std::string::npos) << text;
  EXPECT_NE(text.find("use another copy"), std::string::npos) << text;

  std::string core = content_of(folder.path("image/core-12.img"));
  core[kHeaderBytes + 30] ^= 1;
  write_content(folder.path("image/core-12.img"), core);
  const std::string record = error_of([&] { ImageReader(folder.path("image")).records("core-12.img"); });
  EXPECT_NE(record.find("core-12.img at offset 48: checksum of a record differs"), std::string::npos) << record;
}

TEST(ImageDamage, CutOffAndMissingFiles) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  for (const char* name : {"pages-1.img", "core-12.img"}) {
    const std::string path = folder.path("image") + "/" + name, good = content_of(path);
    std::filesystem::resize_file(path, good.size() - 1);
    EXPECT_NE(error_of([&] { verify(folder.path("image")); }).find("at offset"), std::string::npos);
    std::filesystem::remove(path);
    EXPECT_NE(error_of([&] { verify(folder.path("image")); }).find("is missing"), std::string::npos);
    write_content(path, good);
    verify(folder.path("image"));
  }
}

TEST(ImageDamage, ForeignAndNewerFiles) {
  EXPECT_NE(error_of([] { read_records("#!/bin/sh\n"); }).find("x.img is not a mini-criu image"), std::string::npos);
  EXPECT_NE(error_of([] { read_records(""); }).find("empty"), std::string::npos);
  std::string newer = header();
  const uint32_t version = kFormatVersion + 1;
  newer.replace(8, 4, reinterpret_cast<const char*>(&version), 4);
  const uint64_t sum = checksum_of(newer.data(), 40);
  newer.replace(40, 8, reinterpret_cast<const char*>(&sum), 8);
  const std::string text = error_of([&] { read_records(newer + closing(0)); });
  EXPECT_NE(text.find("version 2"), std::string::npos) << text;
  EXPECT_NE(text.find("newer mini-criu"), std::string::npos) << text;
}

TEST(ImageDamage, ImpossibleRecords) {
  std::string huge;
  append_number(huge, UINT32_MAX);
  append_number(huge, uint16_t{20});
  EXPECT_NE(error_of([&] { read_records(header() + huge + std::string(64, 'x')); }).find("at offset 48"),
            std::string::npos);
  EXPECT_NE(error_of([] {
              read_records(header() + framed("google.protobuf.Any", "") + closing(1));
            }).find("knows no record of type"),
            std::string::npos);
  EXPECT_NE(error_of([] { read_records(header() + closing(1)); }).find("counts 1"), std::string::npos);
  EXPECT_NE(error_of([] {
              read_records(header() + framed("mcr.image.Vma", "\xff\xff") + closing(1));
            }).find("no valid mcr.image.Vma"),
            std::string::npos);
}

TEST(ImageDamage, NestingIsBounded) {
  std::string nested;  // groups, which any message skips as unknown fields, recursing
  for (int i = 0; i < 10'000; ++i) nested += "\x7b";
  for (int i = 0; i < 10'000; ++i) nested += "\x7c";
  EXPECT_NE(error_of([&] { read_records(header() + framed("mcr.image.Vma", nested) + closing(1)); }), "");
}

TEST(ImageDamage, LinksAndSpecialFilesAreRefused) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  const std::string core = folder.path("image/core-12.img");
  std::filesystem::rename(core, folder.path("elsewhere"));
  std::filesystem::create_symlink(folder.path("elsewhere"), core);
  EXPECT_NE(error_of([&] { verify(folder.path("image")); }).find("symbolic link"), std::string::npos);
  std::filesystem::remove(core);
  ASSERT_EQ(::mkfifo(core.c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { verify(folder.path("image")); }).find("not a regular file"), std::string::npos);
}

TEST(ImageDamage, MixedImagesAreRefused) {
  const Folder folder;
  sample::write_image(folder.path("one"));
  sample::write_image(folder.path("two"));
  std::filesystem::copy_file(folder.path("two/core-12.img"), folder.path("one/core-12.img"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_NE(error_of([&] { verify(folder.path("one")); }).find("belongs to another image"), std::string::npos);
}

TEST(ImageDamage, UnlistedFilesAreIgnored) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  write_content(folder.path("image/dump.log"), "anything");
  verify(folder.path("image"));
}

// Records that are whole each, but do not fit together.
std::string verify_memory(const std::function<void(image::MemoryMap&, image::Vma&, image::PageRun&)>& change) {
  const Folder folder;
  image::MemoryMap map;
  image::Vma vma;
  image::PageRun run;
  const std::string page(4096, 'p');
  map.set_pages_file("pages-1.img");
  map.set_vma_count(1);
  map.set_run_count(1);
  vma.set_start(0x1000);
  vma.set_end(0x3000);
  run.set_start(0x1000);
  run.set_bytes(4096);
  run.set_offset(kPageFileHeader);
  run.set_chunk_bytes(kChunkBytes);
  run.add_checksums(checksum_of(page.data(), page.size()));
  change(map, vma, run);
  ImageWriter writer(folder.path("image"), false);
  const UniqueFd pages = writer.pages("pages-1.img");
  sys::write_text(pages.get(), page);
  writer.add_pages("pages-1.img", pages.get());
  RecordWriter records = writer.records("mm-1.img");
  records.append(map);
  records.append(vma);
  records.append(run);
  records.finish();
  writer.add(records);
  writer.commit({});
  return error_of([&] { verify(folder.path("image")); });
}

TEST(ImageDamage, RunsMustFitTheirFileAndMappings) {
  using image::MemoryMap, image::Vma, image::PageRun;
  EXPECT_EQ(verify_memory([](MemoryMap&, Vma&, PageRun&) {}), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_offset(8192); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_offset(0); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_offset(UINT64_MAX - 4095); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_bytes(8192); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_bytes(UINT64_MAX - 4095); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_bytes(0); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_start(0x3000); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_chunk_bytes(0); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_chunk_bytes(512); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma&, PageRun& run) { run.set_shared(9); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma& vma, PageRun&) { vma.set_end(0x1000); }), "");
  EXPECT_NE(verify_memory([](MemoryMap&, Vma& vma, PageRun&) { vma.set_file(4); }), "");
  EXPECT_NE(verify_memory([](MemoryMap& map, Vma&, PageRun&) { map.set_vma_count(2); }), "");
  EXPECT_NE(verify_memory([](MemoryMap& map, Vma&, PageRun&) { map.set_pages_file("pages-2.img"); }), "");
}

}  // namespace
}  // namespace mcr::images
