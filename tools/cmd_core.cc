#include <fmt/format.h>

#include <charconv>

#include "core/inspect/elf_core.h"
#include "tools/commands.h"
#include "tools/json_object.h"
#include "tools/output_file.h"

namespace mcr::cli {
namespace {

struct CoreRequest {
  std::string images_dir, file;
  int32_t pid = 0;  // 0: the root
};

int32_t pid_of(const std::string& word) {
  int32_t pid = 0;
  const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), pid);
  if (code != std::errc() || end != word.data() + word.size() || pid <= 0)
    usage(fmt::format("{} is no pid", word), "mini-criu core DIR PID -o FILE");
  return pid;
}

CoreRequest core_request(const CommandLine& line) {
  CoreRequest request;
  request.images_dir = line.settings.value("images-dir").value_or(".");
  std::vector<std::string> words = line.operands;
  if (!words.empty() && !line.settings.value("images-dir")) {
    request.images_dir = words.front();
    words.erase(words.begin());
  }
  if (words.size() > 1) usage("core takes one image folder and one pid", "mini-criu core DIR PID -o FILE");
  if (!words.empty()) request.pid = pid_of(words.front());
  const auto output = line.settings.value("output");
  const auto file = output ? output : line.settings.value("log-file");  // -o
  if (!file || file->empty()) usage("core needs the name of a file", "mini-criu core DIR PID -o FILE");
  if (*file == "-") usage("a core is sparse and cannot go through a pipe", "give the name of a file: -o FILE");
  request.file = *file;
  return request;
}

std::string core_json(const CoreRequest& request, const inspect::CoreReport& report) {
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", "core");
  put(object, "images_dir", absolute_folder(request.images_dir));
  put(object, "pid", static_cast<double>(request.pid));
  put(object, "file", request.file);
  put(object, "executable", report.executable);
  put(object, "threads", static_cast<double>(report.threads));
  put(object, "mappings", static_cast<double>(report.mappings));
  put(object, "bytes", static_cast<double>(report.bytes));
  put(object, "stored_bytes", static_cast<double>(report.stored_bytes));
  JsonList& missing = put_list(object, "missing");
  for (const std::string& one : report.missing) missing.add_values()->set_string_value(one);
  return json_text(object) + "\n";
}

std::string core_text(const CoreRequest& request, const inspect::CoreReport& report) {
  std::string text =
      fmt::format("{}: process {}, {} thread{}, {} mappings, {} bytes of memory\n", request.file, request.pid,
                  report.threads, report.threads == 1 ? "" : "s", report.mappings, report.stored_bytes);
  for (const std::string& missing : report.missing) text += fmt::format("not in it: {}\n", missing);
  return text + fmt::format("gdb {} {}\n", report.executable, request.file);
}

}  // namespace

int run_core(const CommandLine& line) {
  CoreRequest request = core_request(line);
  OutputFile file(request.file, line.settings.flag("force"));
  const inspect::SavedTree tree(image_place(request.images_dir));
  if (request.pid == 0) request.pid = tree.inventory().root_pid();
  const auto report = inspect::write_core(tree, request.pid, file.fd(), line.settings.flag("with-files"));
  file.publish();
  print(line.settings.flag("json") ? core_json(request, report) : core_text(request, report));
  return 0;
}

}  // namespace mcr::cli
