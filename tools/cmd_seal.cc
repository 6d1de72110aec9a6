#include <fmt/format.h>

#include "images/seal.h"
#include "tools/commands.h"
#include "tools/json_object.h"
#include "tools/report.h"
#include "tools/standard_streams.h"

namespace mcr::cli {
namespace {

images::SealKey key_of(const CommandLine& line) {
  const auto path = line.settings.value("key");
  if (!path) usage(fmt::format("{} needs --key", line.command->name), "mini-criu keygen FILE makes a key");
  return images::SealKey::read(*path);
}

std::string folder_of(const CommandLine& line) {
  std::string folder = image_operand(line);
  if (folder == kStream) usage("a stream cannot be sealed", "give the folder of an image");
  return folder;
}

void tell(const CommandLine& line, const std::string& text, JsonObject object) {
  if (!line.settings.flag("json")) return print(text);
  put_flag(object, "ok", true);
  put(object, "command", line.command->name);
  print(json_text(object) + "\n");
}

}  // namespace

int run_seal(const CommandLine& line) {
  const images::SealKey key = key_of(line);
  const std::string folder = folder_of(line);
  const images::SealReport report = images::seal(folder, key);
  JsonObject object;
  put(object, "images_dir", folder);
  put(object, "key", key.id());
  put(object, "images", static_cast<double>(report.images));
  put(object, "files", static_cast<double>(report.files));
  put(object, "bytes", static_cast<double>(report.bytes));
  tell(line,
       fmt::format("{}: sealed with the key {}: {} image{}, {} files, {}\n", folder, key.id(), report.images,
                   report.images == 1 ? "" : "s", report.files, readable_bytes(report.bytes)),
       std::move(object));
  return 0;
}

int run_unseal(const CommandLine& line) {
  const images::SealKey key = key_of(line);
  const std::string folder = folder_of(line);
  images::unseal(folder, key);
  JsonObject object;
  put(object, "images_dir", folder);
  put(object, "key", key.id());
  tell(line, fmt::format("{}: the seal held and is taken off\n", folder), std::move(object));
  return 0;
}

int run_keygen(const CommandLine& line) {
  if (line.operands.size() != 1) usage("keygen takes the name of the file to make", "mini-criu keygen FILE");
  const std::string& path = line.operands.front();
  const images::SealKey key = images::SealKey::make(path);
  JsonObject object;
  put(object, "file", path);
  put(object, "key", key.id());
  tell(line, fmt::format("{}: the key {}; keep it where the images are not\n", path, key.id()), std::move(object));
  return 0;
}

}  // namespace mcr::cli
