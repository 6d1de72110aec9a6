#include <fmt/format.h>

#include "core/engine/image_check.h"
#include "images/store.h"
#include "tools/commands.h"
#include "tools/json_object.h"

namespace mcr::cli {

int run_verify(const CommandLine& line) {
  const std::string folder = image_operand(line);
  const images::VerifyReport report = images::verify(folder);
  engine::verify_records(folder);
  if (!line.settings.flag("json")) {
    print(fmt::format("OK: {} files, {} records, {} bytes\n", report.files, report.records, report.bytes));
    return 0;
  }
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", "verify");
  put(object, "images_dir", absolute_folder(folder));
  put(object, "files", static_cast<double>(report.files));
  put(object, "records", static_cast<double>(report.records));
  put(object, "bytes", static_cast<double>(report.bytes));
  print(json_text(object) + "\n");
  return 0;
}

}  // namespace mcr::cli
