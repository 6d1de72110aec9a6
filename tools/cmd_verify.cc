#include <fmt/format.h>

#include "core/base/log.h"
#include "core/engine/image_check.h"
#include "images/parent_chain.h"
#include "images/seal.h"
#include "images/store.h"
#include "tools/commands.h"
#include "tools/json_object.h"
#include "tools/standard_streams.h"

namespace mcr::cli {

// Byte by byte, like the image itself.
static void verify_parents(const std::string& folder, images::VerifyReport& report) {
  const images::ImageReader reader(folder);
  const auto chain = images::ParentChain::of(reader);
  if (!chain) return;
  chain->check_runs(reader);
  for (const std::string& directory : chain->directories()) {
    const Step step("the previous image in {}", directory);
    const images::VerifyReport more = images::verify(directory);
    report.files += more.files, report.records += more.records, report.bytes += more.bytes;
  }
}

images::VerifyReport verify_chain(const std::string& folder) {
  images::VerifyReport report = images::verify(folder);
  engine::verify_records(folder);
  verify_parents(folder, report);
  return report;
}

void check_seal_of(const CommandLine& line, const std::string& folder) {
  const auto path = line.settings.value("key");
  if (folder == kStream) {
    if (path)
      usage("an image that comes as a stream carries no seal", "give the folder of a sealed image, or leave --key out");
    return;
  }
  if (path) {
    images::check_seal(folder, images::SealKey::read(*path));
  } else if (const auto key = images::sealed_with(folder)) {
    log::warning(line.command->name, "The image in {} is sealed with the key {}; without --key its seal is not checked",
                 folder, *key);
  }
}

int run_verify(const CommandLine& line) {
  const std::string folder = image_operand(line);
  check_seal_of(line, folder);
  const images::ImagePlace place = image_place(folder);
  images::VerifyReport report;
  if (place.received) {
    report = images::verify(place);
    engine::verify_records(place);
  } else {
    report = verify_chain(folder);
  }
  const bool was_sealed = line.settings.value("key").has_value();
  const bool unchecked = !was_sealed && !place.received && images::sealed_with(folder);
  if (!line.settings.flag("json")) {
    print(fmt::format("OK: {} files, {} records, {} bytes{}\n", report.files, report.records, report.bytes,
                      was_sealed  ? "; the seal holds"
                      : unchecked ? "; sealed, but without --key the seal is not checked"
                                  : ""));
    return 0;
  }
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", "verify");
  put(object, "images_dir", absolute_folder(folder));
  put(object, "seal", was_sealed ? "holds" : unchecked ? "unchecked" : "none");
  put(object, "files", static_cast<double>(report.files));
  put(object, "records", static_cast<double>(report.records));
  put(object, "bytes", static_cast<double>(report.bytes));
  print(json_text(object) + "\n");
  return 0;
}

}  // namespace mcr::cli
