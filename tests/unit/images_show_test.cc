// What a person and a script see of an image.
#include "images/json_text.h"
#include "images/show.h"
#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

using sample::Folder;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ImageShow, OneFile) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  const std::string core = show_file_json(folder.path("image/core-12.img"));
  EXPECT_TRUE(has(core, "\"type\": \"mcr.image.ProcessCore\"")) << core;
  EXPECT_TRUE(has(core, "\"command\": \"cat\"")) << core;
  EXPECT_TRUE(has(core, "mcr.image.SignalActions")) << core;
  EXPECT_TRUE(has(core, "\"signal\": 15")) << core;
  EXPECT_TRUE(has(show_file_json(folder.path("image/fdinfo-12.img")), "\"fd\": 0"));
  EXPECT_TRUE(has(show_file_json(folder.path("image/pages-1.img")), "\"size\": 5632"));
  EXPECT_TRUE(has(show_file_json(folder.path("image/inventory.img")), "\"host\": \"host\""));
}

TEST(ImageShow, WholeImage) {
  const Folder folder;
  sample::write_image(folder.path("image"));
  const std::string text = show_image_text(folder.path("image"));
  for (const char* part : {"process 12", "on host", "1.0 KiB", "cat", "regular_file", "/tmp/data", "core-12.img"})
    EXPECT_TRUE(has(text, part)) << part << " in\n" << text;
  const std::string json = show_image_json(folder.path("image"));
  for (const char* part :
       {"\"pid\": 12", "\"stored_bytes\": 1024", "\"path\": \"/tmp/data\"", "\"name\": \"files.img\""})
    EXPECT_TRUE(has(json, part)) << part << " in\n" << json;
}

TEST(ImageShow, AnythingCanBeQuoted) {
  EXPECT_EQ(quoted("a\"b\\c\n\x1b"), "\"a\\\"b\\\\c\\u000a\\u001b\"");
  EXPECT_EQ(quoted("gr\xc3\xbc\xc3\x9f"), "\"gr\xc3\xbc\xc3\x9f\"");
  EXPECT_EQ(quoted("caf\xe9"), "\"caf\xef\xbf\xbd\"");
  EXPECT_EQ(quoted("\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

}  // namespace
}  // namespace mcr::images
