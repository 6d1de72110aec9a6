// The stream of an image: what goes in comes out, and whatever is altered, cut off or out of order is refused.
#include <gmock/gmock.h>
#include <xxhash.h>

#include <map>

#include "images/archive_reader.h"
#include "images/archive_writer.h"
#include "images/format.h"
#include "images/received_image.h"
#include "tests/unit/images_sample.h"
#include "tools/progress_line.h"

namespace mcr::images {
namespace {

using ::testing::HasSubstr;

WriteBytes into(std::string& stream) {
  return [&stream](const void* data, size_t size) { stream.append(static_cast<const char*>(data), size); };
}

// Hands out at most `most` bytes at a time, as a pipe may.
ReadBytes from(const std::string& stream, size_t most = SIZE_MAX) {
  return [&stream, most, at = size_t{0}](void* data, size_t size) mutable {
    const size_t n = std::min({size, most, stream.size() - at});
    std::memcpy(data, stream.data() + at, n);
    at += n;
    return n;
  };
}

std::map<std::string, std::string> read_all(const std::string& stream, size_t most = SIZE_MAX) {
  std::map<std::string, std::string> files;
  ArchiveReader reader(from(stream, most));
  while (const auto piece = reader.next())
    files[piece->name].append(piece->data.data(), piece->kind == BlockKind::data ? piece->data.size() : 0);
  EXPECT_EQ(reader.offset(), stream.size());
  EXPECT_FALSE(reader.next());
  return files;
}

std::string error_of_reading(const std::string& stream) {
  try {
    ArchiveReader reader(from(stream));
    while (reader.next()) {
    }
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::image) << error.what();
    return error.what();
  }
  return {};
}

std::string small_stream() {
  std::string stream;
  ArchiveWriter writer(into(stream));
  const uint32_t one = writer.begin("one.img");
  writer.append(one, "first", 5);
  const uint32_t two = writer.begin("two.img");
  writer.append(two, "second", 6);
  writer.append(one, " again", 6);
  writer.end_file(one);
  writer.end_file(two);
  writer.finish();
  EXPECT_EQ(writer.written(), stream.size());
  return stream;
}

// Blocks with right checksums and any values.
struct Forged {
  std::string stream = encode_archive_header();
  XXH3_state_t* headers = XXH3_createState();
  uint64_t blocks = 0;
  Forged() { XXH3_64bits_reset(headers); }
  ~Forged() { XXH3_freeState(headers); }
  Forged(const Forged&) = delete;
  Forged& operator=(const Forged&) = delete;

  Forged& add(uint32_t kind, uint32_t file, uint64_t offset, const std::string& data, int64_t bytes = -1) {
    const std::string header =
        encode_block_header({static_cast<BlockKind>(kind), file, offset,
                             static_cast<uint32_t>(bytes < 0 ? data.size() : static_cast<size_t>(bytes)),
                             checksum_of(data.data(), data.size())});
    XXH3_64bits_update(headers, header.data(), header.size());
    ++blocks;
    stream += header + data;
    return *this;
  }
  Forged& name(uint32_t file, const std::string& text) { return add(1, file, 0, text); }
  Forged& end(uint32_t files, uint64_t total, int64_t more_blocks = 0) {
    std::string closing;
    append_number(closing, blocks + static_cast<uint64_t>(more_blocks));
    append_number(closing, uint64_t{XXH3_64bits_digest(headers)});
    return add(4, files, total, closing);
  }
  std::string error() const { return error_of_reading(stream); }
};

TEST(Archive, GivesBackWhatWentIn) {
  for (const size_t most : {SIZE_MAX, size_t{1}, size_t{7}})
    EXPECT_THAT(read_all(small_stream(), most),
                ::testing::ElementsAre(std::pair("one.img", "first again"), std::pair("two.img", "second")));
  std::string stream, large(3 * kMostBlockBytes + 5, 'x');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 31 >> 8);
  ArchiveWriter writer(into(stream));
  const uint32_t file = writer.begin("large.img");
  writer.append(file, large.data(), large.size());
  writer.append(file, large.data(), 0);
  writer.end_file(file);
  writer.end_file(writer.begin("empty.img"));
  writer.finish();
  const auto files = read_all(stream);
  EXPECT_TRUE(files.at("large.img") == large);
  EXPECT_EQ(files.at("empty.img"), "");
}

TEST(Archive, RefusesEveryFlippedBitAndEveryEarlyEnd) {
  const std::string stream = small_stream();
  for (size_t at = 0; at < stream.size(); ++at) {
    EXPECT_NE(error_of_reading(stream.substr(0, at)), "") << "cut off after " << at;
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = stream;
      changed[at] = static_cast<char>(changed[at] ^ 1 << bit);
      EXPECT_NE(error_of_reading(changed), "") << "bit " << bit << " of byte " << at;
    }
  }
  EXPECT_EQ(error_of_reading(stream), "");
}

TEST(Archive, SaysWhereAStreamEnds) {
  const std::string stream = small_stream();
  EXPECT_THAT(error_of_reading({}), HasSubstr("the stream is empty"));
  EXPECT_THAT(error_of_reading(stream.substr(0, 10)), HasSubstr("ends at offset 10, inside its header"));
  EXPECT_THAT(error_of_reading(stream.substr(0, 24)), HasSubstr("ends at offset 24, before its end record"));
  EXPECT_THAT(error_of_reading(stream.substr(0, 66)), HasSubstr("ends at offset 66, inside a block"));
  EXPECT_THAT(error_of_reading("<html>not found, and more of it</html>"), HasSubstr("no stream of mini-criu"));
}

TEST(Archive, RefusesANewerVersionByItsNumber) {
  std::string header = encode_archive_header();
  header[8] = 2;
  const uint64_t sum = checksum_of(header.data(), 16);
  std::memcpy(header.data() + 16, &sum, 8);
  EXPECT_THAT(error_of_reading(header), HasSubstr("version 2"));
}

TEST(Archive, RefusesHostileValues) {
  EXPECT_EQ(Forged().name(0, "a").add(2, 0, 0, "xy").add(3, 0, 2, "").end(1, 2).error(), "");
  EXPECT_EQ(Forged().end(0, 0).error(), "");
  for (const uint32_t kind : {0u, 5u, ~0u}) EXPECT_THAT(Forged().add(kind, 0, 0, "x").error(), HasSubstr("of kind"));
  EXPECT_THAT(Forged().name(1, "a").error(), HasSubstr("file 0 is due"));
  EXPECT_THAT(Forged().name(0, "a").name(0, "b").error(), HasSubstr("file 1 is due"));
  EXPECT_THAT(Forged().name(0, "a").name(1, "a").error(), HasSubstr("comes twice"));
  EXPECT_THAT(Forged().add(1, 0, 5, "a").error(), HasSubstr("a name has an offset"));
  for (const char* name : {"../a", "a/b", ".hidden", "a b", "\n"})
    EXPECT_THAT(Forged().name(0, name).error(), HasSubstr("no name")) << name;
  EXPECT_THAT(Forged().name(0, std::string("a\0b", 3)).error(), HasSubstr("no name"));
  EXPECT_THAT(Forged().name(0, "").error(), HasSubstr("has 0 bytes"));
  EXPECT_THAT(Forged().name(0, std::string(256, 'a')).error(), HasSubstr("has 256 bytes"));
  EXPECT_THAT(Forged().add(2, 0, 0, "x").error(), HasSubstr("has not begun"));
  EXPECT_THAT(Forged().name(0, "a").add(2, 7, 0, "x").error(), HasSubstr("has not begun"));
  EXPECT_THAT(Forged().name(0, "a").add(2, 0, 1, "x").error(), HasSubstr("goes on at 1, but has 0"));
  EXPECT_THAT(Forged().name(0, "a").add(2, 0, 0, "x").add(2, 0, 0, "x").error(), HasSubstr("goes on at 0, but has 1"));
  EXPECT_THAT(Forged().name(0, "a").add(2, 0, 0, "").error(), HasSubstr("has 0 bytes"));
  EXPECT_THAT(Forged().name(0, "a").add(2, 0, 0, "x", kMostBlockBytes + 1).error(), HasSubstr("has 1048577 bytes"));
  EXPECT_THAT(Forged().name(0, "a").add(2, 0, 0, "x", UINT32_MAX).error(), HasSubstr("has 4294967295 bytes"));
  EXPECT_THAT(Forged().name(0, "a").add(3, 0, 0, "x").error(), HasSubstr("has 1 bytes"));
  EXPECT_THAT(Forged().name(0, "a").add(3, 0, 9, "").error(), HasSubstr("goes on at 9"));
  EXPECT_THAT(Forged().name(0, "a").add(3, 0, 0, "").add(2, 0, 0, "x").error(), HasSubstr("after its end"));
  EXPECT_THAT(Forged().name(0, "a").add(3, 0, 0, "").add(3, 0, 0, "").error(), HasSubstr("after its end"));
  EXPECT_THAT(Forged().name(0, "a").end(1, 0).error(), HasSubstr("a has not ended"));
  EXPECT_THAT(Forged().name(0, "a").add(3, 0, 0, "").end(2, 0).error(), HasSubstr("announced"));
  EXPECT_THAT(Forged().name(0, "a").add(3, 0, 0, "").end(1, 1).error(), HasSubstr("announced"));
  EXPECT_THAT(Forged().name(0, "a").add(3, 0, 0, "").end(1, 0, 1).error(), HasSubstr("announced"));
  EXPECT_THAT(Forged().add(4, 0, 0, "short").error(), HasSubstr("has 5 bytes"));
  EXPECT_THAT(Forged().add(4, 0, 0, std::string(16, '\0')).error(), HasSubstr("checksum of the whole"));
}

TEST(Archive, RefusesWrongUseOfTheWriter) {
  std::string stream;
  ArchiveWriter writer(into(stream));
  const uint32_t file = writer.begin("a");
  EXPECT_THROW(writer.begin("a"), Error);
  EXPECT_THROW(writer.begin("../a"), Error);
  EXPECT_THROW(writer.append(1, "x", 1), Error);
  EXPECT_THROW(writer.finish(), Error);
  writer.end_file(file);
  EXPECT_THROW(writer.append(file, "x", 1), Error);
}

class Memory : public ByteSink {
 public:
  void write(const void* data, size_t size) override { bytes.append(static_cast<const char*>(data), size); }
  void complete() override { is_complete = true; }
  std::string bytes;
  bool is_complete = false;
};

std::string image_as_stream() {
  Memory sink;
  {
    ImageWriter writer(sink);
    EXPECT_TRUE(writer.is_stream());
    sample::write_core(writer, 12, "program");
    sample::write_files(writer, 12);
    sample::write_memory(writer, 12);
    writer.commit(sample::inventory_of(12, "host"));
  }
  EXPECT_TRUE(sink.is_complete);
  return sink.bytes;
}

TEST(ReceivedImage, IsTheImageThatWasSent) {
  Progress progress;
  const auto received = ReceivedImage::receive(from(image_as_stream()), &progress);
  EXPECT_EQ(progress.done, received->bytes());
  const ImageReader reader(received);
  EXPECT_TRUE(reader.may_release());
  EXPECT_EQ(reader.inventory().root_pid(), 12);
  EXPECT_EQ(verify(received).files, received->count());
  EXPECT_FALSE(received->open("none.img"));
}

TEST(ReceivedImage, KeepsLargeFilesAsTheyAre) {
  std::string stream, large(5 << 20, '\0');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7 >> 4);
  ArchiveWriter writer(into(stream));
  const uint32_t file = writer.begin("large.img");
  for (size_t at = 0; at < large.size(); at += 300'000)
    writer.append(file, large.data() + at, std::min<size_t>(300'000, large.size() - at));
  writer.end_file(file);
  writer.finish();
  const auto received = ReceivedImage::receive(from(stream, 1000));
  std::string back(large.size() + 1, '\0');
  EXPECT_EQ(sys::pread_some(received->open("large.img")->get(), back.data(), back.size(), 0), large.size());
  back.pop_back();
  EXPECT_TRUE(back == large);
}

TEST(ReceivedImage, RefusesWhatTheInventoryDoesNotList) {
  std::string stream;
  ArchiveWriter writer(into(stream));
  const std::string image = image_as_stream();
  ArchiveReader reader(from(image));
  std::map<uint32_t, uint32_t> numbers;
  writer.end_file(writer.begin("stray.img"));
  while (const auto piece = reader.next()) {
    if (piece->kind == BlockKind::name)
      numbers[piece->file] = writer.begin(piece->name);
    else if (piece->kind == BlockKind::data)
      writer.append(numbers.at(piece->file), piece->data.data(), piece->data.size());
    else
      writer.end_file(numbers.at(piece->file));
  }
  writer.finish();
  EXPECT_THAT(sample::error_of([&] { ImageReader(ReceivedImage::receive(from(stream))); }),
              HasSubstr("its inventory lists"));
  EXPECT_THAT(sample::error_of([&] { ImageReader(ReceivedImage::receive(from(small_stream()))); }),
              HasSubstr("holds no inventory"));
}

TEST(ImageStream, FailsWhenTheSinkDoes) {
  class Broken : public ByteSink {
   public:
    void write(const void*, size_t size) override {
      if ((left -= static_cast<int64_t>(size)) < 0) throw Error(Fault::system, "nobody reads");
    }
    void complete() override { throw Error(Fault::system, "nobody keeps"); }
    int64_t left = 0;
  };
  const auto whole = static_cast<int64_t>(image_as_stream().size());
  for (int64_t left = 0; left <= whole; left += 97) {
    Broken sink;
    sink.left = left;
    EXPECT_THAT(sample::error_of([&] {
                  ImageWriter writer(sink);
                  sample::write_memory(writer, 12);
                  writer.commit({});
                }),
                HasSubstr("nobody"));
  }
}

std::string progress_text(uint64_t done, uint64_t total, double seconds) {
  char text[100];
  return std::string(text, cli::write_progress(text, sizeof text, "saving", done, total, seconds));
}

TEST(ProgressLine, SaysWhatIsKnown) {
  EXPECT_EQ(progress_text(0, 0, 0), "saving 0.0 B");
  EXPECT_EQ(progress_text(3 << 20, 0, 2), "saving 3.0 MiB, 1.5 MiB/s");
  EXPECT_EQ(progress_text(1 << 30, 3ull << 30, 1), "saving 1.0 GiB of 3.0 GiB, 1.0 GiB/s, 2 s left");
  EXPECT_EQ(progress_text(2 << 20, 1 << 20, 1), "saving 2.0 MiB, 2.0 MiB/s");
  char tiny[10];
  EXPECT_LE(cli::write_progress(tiny, sizeof tiny, "saving", UINT64_MAX, UINT64_MAX, 1e-9), sizeof tiny);
}

}  // namespace
}  // namespace mcr::images
