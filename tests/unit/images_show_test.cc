// What a person and a script see of an image.
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "images/byte_text.h"
#include "images/message_json.h"
#include "images/proto/sockets.pb.h"
#include "images/proto/terminals.pb.h"
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

// Paths and comm may hold any bytes but zero, unlike a protobuf string.
TEST(ImageShow, NamesOfAnyBytes) {
  const std::string command = "w\xffrk\n", path = "/tmp/caf\xe9 \\ \xc3\xbc";
  const Folder folder;
  {
    ImageWriter writer(folder.path("image"), false);
    sample::write_core(writer, 12, command);
    sample::write_files(writer, 12, path);
    sample::write_memory(writer, 12);
    writer.commit(sample::inventory_of(12, "host"));
  }
  EXPECT_EQ(verify(folder.path("image")).records, 9u);
  const ImageReader reader(folder.path("image"));
  RecordReader core = reader.records("core-12.img");
  EXPECT_EQ(core.read<image::ProcessCore>().command(), command);
  EXPECT_EQ(core.read<image::ThreadCore>().name(), command);
  image::RegularFile file;
  ASSERT_TRUE(reader.records("files.img").read<image::FileObject>().body().UnpackTo(&file));
  EXPECT_EQ(file.path(), path);

  const std::string core_json = show_file_json(folder.path("image/core-12.img"));
  EXPECT_TRUE(has(core_json, R"("command": "w\\xffrk\\x0a")")) << core_json;
  const std::string files_json = show_file_json(folder.path("image/files.img"));
  EXPECT_TRUE(has(files_json, "\"path\": \"/tmp/caf\\\\xe9 \\\\\\\\ \xc3\xbc\"")) << files_json;
  const std::string text = show_image_text(folder.path("image"));
  EXPECT_TRUE(has(text, "w\\xffrk\\x0a\n") && has(text, "/tmp/caf\\xe9 \\\\ \xc3\xbc\n")) << text;
  const std::string json = show_image_json(folder.path("image"));
  EXPECT_TRUE(has(json, R"("command": "w\\xffrk\\x0a")")) << json;
}

google::protobuf::Value shown(const google::protobuf::Message& message) {
  google::protobuf::Value value;
  const std::string text = json_text(json_of_message(message));
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(text, &value).ok()) << text;
  return value;
}

const google::protobuf::Value& member(const google::protobuf::Value& object, const std::string& name) {
  const auto& fields = object.struct_value().fields();
  EXPECT_TRUE(fields.contains(name)) << name << " in " << object.DebugString();
  static const google::protobuf::Value kNone;
  return fields.contains(name) ? fields.at(name) : kNone;
}

TEST(ImageShow, Numbers) {
  image::Vma vma;
  vma.set_start(0x7fff'ffff'f000);
  vma.set_kind(image::Vma::VDSO);
  vma.set_offset(~0ull);
  vma.set_prot(~0u);
  const auto json = shown(vma);
  EXPECT_EQ(member(json, "start").string_value(), "0x7ffffffff000");
  EXPECT_EQ(member(json, "end").string_value(), "0x0");
  EXPECT_EQ(member(json, "kind").string_value(), "VDSO");
  EXPECT_EQ(member(json, "offset").string_value(), "18446744073709551615");
  EXPECT_EQ(member(json, "prot").number_value(), 4294967295.0);
  vma.set_kind(static_cast<image::Vma::Kind>(99));
  EXPECT_EQ(member(shown(vma), "kind").number_value(), 99);
}

TEST(ImageShow, LongBytesAreCut) {
  image::PipeData data;
  data.add_chunks(std::string(64, '\x01'));
  data.add_chunks(std::string(65, '\xff'));
  const auto json = shown(data);
  const auto& chunks = member(json, "chunks").list_value();
  ASSERT_EQ(chunks.values_size(), 2);
  std::string full, cut;
  for (int i = 0; i < 64; ++i) full += "01", cut += "ff";
  EXPECT_EQ(member(chunks.values(0), "bytes").number_value(), 64);
  EXPECT_EQ(member(chunks.values(0), "hex").string_value(), full);
  EXPECT_EQ(member(chunks.values(1), "bytes").number_value(), 65);
  EXPECT_EQ(member(chunks.values(1), "hex").string_value(), cut + "…");
}

TEST(ImageShow, PathsAreText) {
  image::UnixSocket socket;
  socket.set_root("/srv/\xe9"), socket.set_folder("run");
  EXPECT_EQ(member(shown(socket), "root").string_value(), "/srv/\\xe9");
  EXPECT_EQ(member(shown(socket), "folder").string_value(), "run");
  image::Pty pty;
  pty.set_ptmx("/dev/ptmx"), pty.set_folder("/dev/pts");
  EXPECT_EQ(member(shown(pty), "ptmx").string_value(), "/dev/ptmx");
  EXPECT_EQ(member(shown(pty), "folder").string_value(), "/dev/pts");
}

TEST(ImageShow, RegistersOfAnUnknownSize) {
  image::ThreadCore thread;
  thread.set_registers("abc");
  EXPECT_EQ(member(member(shown(thread), "registers"), "hex").string_value(), "616263");
}

TEST(ImageShow, WhatCannotBeUnpacked) {
  image::FileObject object;
  object.mutable_body()->set_type_url("type.googleapis.com/google.protobuf.Any");
  object.mutable_body()->set_value("x");
  const auto foreign = shown(object);
  EXPECT_EQ(member(member(foreign, "body"), "type").string_value(), "google.protobuf.Any");
  EXPECT_EQ(member(member(member(foreign, "body"), "unreadable"), "hex").string_value(), "78");
  object.mutable_body()->set_type_url("type.googleapis.com/mcr.image.Vma");
  EXPECT_EQ(member(member(member(shown(object), "body"), "unreadable"), "bytes").number_value(), 1);
}

TEST(ImageShow, DeepNestingEnds) {
  image::FileObject object;
  for (int i = 0; i < 1000; ++i) {
    image::FileObject outer;
    outer.mutable_body()->PackFrom(object);
    object = std::move(outer);
  }
  EXPECT_TRUE(has(json_text(json_of_message(object)), "unreadable"));
}

TEST(ImageShow, Escapes) {
  EXPECT_EQ(escaped("a\"b\\c\n\x1b\x7f"), "a\"b\\\\c\\x0a\\x1b\\x7f");
  EXPECT_EQ(escaped(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(escaped("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7"),
            "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7");
  EXPECT_EQ(escaped("caf\xe9"), "caf\\xe9");
  EXPECT_EQ(escaped("\xe2\x82"), "\\xe2\\x82");
  EXPECT_EQ(escaped("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(escaped("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(escaped("\xc2\x9b"
                    "1m"),
            "\\xc2\\x9b"
            "1m");  // a control character of terminals
}

}  // namespace
}  // namespace mcr::images
