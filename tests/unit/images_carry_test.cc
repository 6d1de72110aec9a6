// Images as tar files, and the lists of files in them and in seals.
#include "images/carry.h"

#include "images/file_list.h"
#include "images/format.h"
#include "images/parent_chain.h"
#include "images/seal.h"
#include "images/tar.h"
#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

using sample::error_of;
using sample::Folder;

ReadBytes reader_of(const std::string& bytes) {
  return [&bytes, at = size_t{0}](void* data, size_t size) mutable {
    const size_t n = std::min(size, bytes.size() - at);
    std::memcpy(data, bytes.data() + at, n);
    at += n;
    return n;
  };
}

std::string exported(const std::string& directory) {
  std::string bytes;
  export_image(directory, [&](const void* data, size_t size) { bytes.append(static_cast<const char*>(data), size); });
  return bytes;
}

TEST(Carry, ComesBackAsItWent) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  const std::string tar = exported(folder.path("image"));
  EXPECT_EQ(tar, exported(folder.path("image")));
  std::string checked;
  const CarryReport report = import_image(reader_of(tar), folder.path("back"), false, [&](const std::string& staged) {
    EXPECT_FALSE(std::filesystem::exists(folder.path("back")));
    verify(staged);
    checked = staged;
  });
  EXPECT_EQ(report.images, 1u);
  EXPECT_EQ(report.files, 6u);
  EXPECT_FALSE(std::filesystem::exists(checked));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path("image"))) {
    const std::string name = entry.path().filename();
    EXPECT_EQ(sample::content_of(entry.path()), sample::content_of(folder.path("back/" + name))) << name;
  }
  EXPECT_EQ(exported(folder.path("back")), tar);
}

// What the check says of the image decides; whatever was unpacked goes away.
TEST(Carry, LeavesNothingOfWhatIsRefused) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  const std::string tar = exported(folder.path("image"));
  const auto refuse = [](const std::string&) { throw Error(Fault::image, "not this one"); };
  EXPECT_NE(error_of([&] { import_image(reader_of(tar), folder.path("back"), false, refuse); }), "");
  for (size_t length = 0; length + 1024 < tar.size(); length += 97) {
    const std::string cut = tar.substr(0, length);
    EXPECT_NE(error_of([&] { import_image(reader_of(cut), folder.path("back"), false, {}); }), "") << length;
  }
  const auto entries = std::filesystem::directory_iterator(folder.path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);
}

TEST(Carry, AnImageMayNotBuildUponWhatIsElsewhere) {
  const Folder folder;
  sample::write_image(folder.path("outside"), "host", 13);
  ImageWriter writer(folder.path("image"), false);
  sample::write_core(writer, 12, "cat");
  image::Inventory inventory = sample::inventory_of(12, "host");
  inventory.mutable_parent()->set_path("../outside");
  inventory.mutable_parent()->set_image_id(id_of(ImageReader(folder.path("outside"))));
  writer.commit(inventory);
  // As somebody would make it by hand: the same tar file without the image that it builds upon.
  std::string bytes;
  TarWriter tar([&](const void* data, size_t size) { bytes.append(static_cast<const char*>(data), size); });
  FileList list{"mini-criu export 1", {}, {}};
  for (const char* name : {"core-12.img", "inventory.img"}) {
    const std::string content = sample::content_of(folder.path("image/") + name);
    list.files.push_back({name, content.size(), digest_of(content)});
  }
  const auto add = [&](const std::string& name, const std::string& content) {
    tar.begin(name, content.size());
    tar.append(content.data(), content.size());
  };
  add("manifest", text_of(list));
  for (const auto& file : list.files) add(file.name, sample::content_of(folder.path("image/" + file.name)));
  tar.finish();
  const auto error = error_of([&] { import_image(reader_of(bytes), folder.path("back"), false, {}); });
  EXPECT_NE(error.find("builds upon an image that is not in the tar file"), std::string::npos) << error;
}

TEST(Tar, HoldsFilesOfAnySize) {
  std::string bytes;
  {
    TarWriter tar([&](const void* data, size_t size) { bytes.append(static_cast<const char*>(data), size); });
    tar.begin("huge", 20ull << 30);  // beyond what the old header can say
    const std::string content(1 << 20, 'x');
    tar.append(content.data(), content.size());
  }
  TarReader tar(reader_of(bytes));
  EXPECT_EQ(tar.next()->size, 20ull << 30);
  EXPECT_NE(error_of([&] {
              for (auto piece = tar.data(); !piece.empty();) piece = tar.data();
            }).find("the tar file at offset"),
            std::string::npos);
}

TEST(Tar, PassesOnWhatItsEndsThrow) {
  const auto full = [](const void*, size_t) { throw Error(Fault::system, "the disk is full"); };
  EXPECT_NE(error_of([&] {
              TarWriter tar(full);
              tar.begin("a", 1 << 20);
              const std::string content(1 << 20, 'x');
              tar.append(content.data(), content.size());
            }).find("the disk is full"),
            std::string::npos);
  const auto broken = [](void*, size_t) -> size_t { throw Error(Fault::system, "the disk is broken"); };
  EXPECT_NE(error_of([&] { TarReader(broken).next(); }).find("the disk is broken"), std::string::npos);
}

std::string list_of(const std::string& lines) {
  std::string text = "title\n" + lines;
  return text + "end " + std::string(64, '0') + "\n";
}

TEST(FileList, SaysWhatItIsAndNothingElse) {
  const std::string digest(64, 'a'), file = "file " + digest + " ";
  const FileList list =
      parse_file_list(list_of("key 0f\n" + file + "12 core-1.img\n" + file + "0 parent-7/a\n"), "title", "it");
  ASSERT_EQ(list.files.size(), 2u);
  EXPECT_EQ(list.files[0].size, 12u);
  EXPECT_EQ(list.files[1].name, "parent-7/a");
  EXPECT_EQ(*list.fact("key"), "0f");
  for (const std::string& bad : {std::string("word\n"),
                                 file + "12\n",
                                 file + "12 a/b\n",
                                 file + "12 ../a\n",
                                 file + "12 .a\n",
                                 file + "-1 a\n",
                                 file + "012 a\n",
                                 file + "12 parent-0/a\n",
                                 file + "12 parent-01/a\n",
                                 file + "12 parent-1001/a\n",
                                 file + "12 parent-/a\n",
                                 file + "12 parent-1/\n",
                                 file + "12 parent-1/a/b\n",
                                 file + "12 a\nkey 0\n",
                                 file + "1 a\n" + file + "1 a\n",
                                 file + "18446744073709551615 a\n" + file + "1 b\n",
                                 file + "18446744073709551616 a\n",
                                 "file " + digest.substr(1) + " 1 a\n",
                                 "file " + std::string(64, 'A') + " 1 a\n",
                                 std::string("key 0\nkey 1\n"),
                                 std::string("\n"),
                                 file + "1 a\r\n",
                                 std::string("end\n"),
                                 "end " + digest + "\n"})
    EXPECT_NE(error_of([&] { parse_file_list(list_of(bad), "title", "it"); }).find("it, line "), std::string::npos)
        << bad;
  EXPECT_NE(error_of([&] { parse_file_list(list_of(""), "another", "it"); }), "");
  EXPECT_NE(error_of([&] { parse_file_list("title\n", "title", "it"); }), "");
  EXPECT_NE(error_of([&] { parse_file_list(list_of("") + "x", "title", "it"); }), "");
}

TEST(FileList, ItsEndDependsOnTheKeyAndOnAllBeforeIt) {
  SecretBytes key, other;
  key.data()[0] = 1, other.data()[31] = 1;
  const FileList list{"title", {}, {{"a", 1, std::string(kDigestBytes, 'x')}}};
  std::string text = text_of(list, &key);
  EXPECT_TRUE(has_right_end(text, &key));
  EXPECT_FALSE(has_right_end(text, &other));
  EXPECT_FALSE(has_right_end(text));
  for (size_t at = 0; at < text.size(); ++at) {
    text[at] = static_cast<char>(text[at] ^ 1);
    EXPECT_FALSE(has_right_end(text, &key)) << at;
    text[at] = static_cast<char>(text[at] ^ 1);
  }
}

}  // namespace
}  // namespace mcr::images
