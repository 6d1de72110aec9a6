// Writing an image and reading it back; what the store says when there is nothing to read.
#include <sys/stat.h>

#include <filesystem>

#include "images/messages.h"
#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

using sample::error_of;
using sample::Folder;

TEST(ImageStore, RoundTrip) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  const ImageReader reader(folder.path("image"));
  EXPECT_EQ(reader.inventory().host(), "host");
  EXPECT_EQ(reader.inventory().files_size(), 5);
  EXPECT_TRUE(reader.has("core-12.img"));
  EXPECT_FALSE(reader.has("core-13.img"));

  RecordReader core = reader.records("core-12.img");
  ASSERT_TRUE(core.at<image::ProcessCore>());
  EXPECT_EQ(core.version(), kFormatVersion);
  const auto process = core.read<image::ProcessCore>();
  EXPECT_EQ(process.command(), "cat");
  image::SignalActions actions;
  ASSERT_TRUE(process.facets(0).UnpackTo(&actions));
  EXPECT_EQ(actions.actions(0).signal(), 15);
  EXPECT_EQ(core.read<image::ThreadCore>().registers(), std::string(27 * 8, 'r'));
  EXPECT_EQ(core.next_type(), std::nullopt);
  EXPECT_EQ(core.next_type(), std::nullopt);

  const PageFile pages = reader.pages("pages-1.img");
  std::string page(sample::kPage, '\0');
  ASSERT_EQ(sys::pread_some(pages.get(), page.data(), page.size(), kPageFileHeader), page.size());
  EXPECT_EQ(page, std::string(sample::kPage, 'a'));
}

TEST(ImageStore, VerifyCounts) {
  const Folder folder;
  sample::write_image(folder.path("image"), "host", 12, true);
  const VerifyReport report = verify(folder.path("image"));
  EXPECT_EQ(report.files, 6u);
  EXPECT_EQ(report.records, 9u);
  EXPECT_GT(report.bytes, 4096 + 3 * sample::kPage);
}

TEST(ImageStore, FilesArePrivateAndNothingElseStays) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  EXPECT_EQ(sys::try_stat(folder.path("image"))->st_mode & 07777, 0700u);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path("image"))) {
    EXPECT_EQ(sys::try_stat(entry.path())->st_mode & 07777, 0600u) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 6u);
}

TEST(ImageStore, LargeFilesAreWrittenInPieces) {
  const Folder folder;
  {
    ImageWriter writer(folder.path("image"), false);
    RecordWriter records = writer.records("core-1.img");
    image::ThreadCore thread;
    thread.set_xstate(std::string(100'000, 'x'));
    for (int i = 0; i < 50; ++i) {
      thread.set_tid(i);
      records.append(thread);
    }
    records.finish();
    writer.add(records);
    EXPECT_EQ(writer.bytes(), records.size());
    writer.commit({});
  }
  RecordReader records = ImageReader(folder.path("image")).records("core-1.img");
  for (int i = 0; i < 50; ++i) EXPECT_EQ(records.read<image::ThreadCore>().tid(), i);
  EXPECT_FALSE(records.next_type());
}

TEST(ImageStore, WithoutCommitNothingStays) {
  const Folder folder;
  {
    ImageWriter writer(folder.path("image"), false);
    sample::write_core(writer, 1, "cat");
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path("image")));
  std::filesystem::create_directory(folder.path("image"));
  { ImageWriter writer(folder.path("image"), false); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path("image")));
}

TEST(ImageStore, RefusesNamesThatLeaveTheFolder) {
  const Folder folder;
  ImageWriter writer(folder.path("image"), false);
  for (const char* name : {"", "..", "../x", "a/b", ".hidden", "inventory.img", "a b", "a\n"})
    EXPECT_NE(error_of([&] { writer.records(name); }), "") << name;
  writer.records("core-1.img");
  EXPECT_NE(error_of([&] { writer.records("core-1.img"); }), "");
}

TEST(ImageStore, SaysWhatIsMissing) {
  const Folder folder;
  EXPECT_NE(error_of([&] { ImageReader(folder.path("none")); }).find("does not exist"), std::string::npos);
  EXPECT_NE(error_of([&] { ImageReader(folder.path()); }).find("holds no complete image: inventory.img is missing"),
            std::string::npos);
  sample::write_content(folder.path("file"), "x");
  EXPECT_NE(error_of([&] { ImageReader(folder.path("file")); }).find("is not a folder"), std::string::npos);
  EXPECT_NE(error_of([&] { ImageWriter(folder.path("file"), false); }).find("is not a folder"), std::string::npos);
  EXPECT_NE(error_of([&] { ImageWriter(folder.path("a/b"), false); }).find("create it first"), std::string::npos);
}

TEST(ImageStore, RecordOfAnotherTypeIsRefused) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  RecordReader records = ImageReader(folder.path("image")).records("core-12.img");
  EXPECT_NE(error_of([&] { records.read<image::Vma>(); }).find("mcr.image.ProcessCore where mcr.image.Vma belongs"),
            std::string::npos);
}

// A .proto file that messages.cc does not name would be missing from a statically linked program.
TEST(ImageStore, EveryMessageOfTheProtoFilesIsKnown) {
  const std::filesystem::path folder = MCR_TEST_DIRECTORY "/../images/proto";
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << "the source tree is not at " << folder;
  size_t messages = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".proto") continue;
    std::ifstream text(entry.path());
    for (std::string word, name; text >> word;) {
      if (word != "message" || !(text >> name >> word) || word != "{") continue;
      EXPECT_NE(find_message("mcr.image." + name), nullptr) << name << " of " << entry.path();
      ++messages;
    }
  }
  EXPECT_GT(messages, 30u);
  EXPECT_EQ(find_message("google.protobuf.Any"), nullptr);
  EXPECT_EQ(find_message(""), nullptr);
}

}  // namespace
}  // namespace mcr::images
