// lazy-pages and page-server: images that are read from, or sent to, another host.
#include <fmt/format.h>

#include <optional>

#include "core/base/log.h"
#include "core/engine/process_limits.h"
#include "core/sys/tcp.h"
#include "images/image_server.h"
#include "images/image_taker.h"
#include "tools/commands.h"
#include "tools/json_object.h"
#include "tools/progress_line.h"
#include "tools/report.h"
#include "tools/standard_streams.h"

namespace mcr::cli {
namespace {

void refuse_stream(const std::string& folder) {
  if (folder == kStream) usage("a server needs the folder of an image", "give it with -D DIR");
}

// Where it listens, before anybody comes: a script waits for it.
UniqueFd listen(const CommandLine& line, sys::TcpPlace place, const char* what, const std::string& folder) {
  UniqueFd listener = sys::listen_tcp(place);
  place.port = sys::local_port(listener.get());
  if (!line.settings.flag("json")) {
    print(fmt::format("{} {} at {}\n", what, folder, place.text()));
    return listener;
  }
  JsonObject object;
  put(object, "command", line.command->name);
  put(object, "images_dir", folder);
  put(object, "address", place.host);
  put(object, "port", static_cast<double>(place.port));
  print(json_text(object) + "\n");
  return listener;
}

void tell(const CommandLine& line, const std::string& text, JsonObject object) {
  if (!line.settings.flag("json")) return print(text + "\n");
  put_flag(object, "ok", true);
  put(object, "command", line.command->name);
  print(json_text(object) + "\n");
}

}  // namespace

int run_lazy_pages(const CommandLine& line) {
  const engine::RaisedLimits limits;  // every file of the image is open
  const std::string folder = image_operand(line);
  refuse_stream(folder);
  const sys::TcpPlace place = place_of_server(line.settings);
  check_seal_of(line, folder);
  Progress progress;  // outlives the server's threads
  images::ImageServer server(folder);
  const UniqueFd listener = listen(line, place, "serves the image in", folder);
  std::optional<ProgressLine> shown;
  shown.emplace(progress, !line.settings.flag("json"));
  const images::ServerReport report = server.serve(listener.get(), &progress);
  shown.reset();
  JsonObject object;
  put(object, "bytes", static_cast<double>(report.bytes));
  put(object, "connections", static_cast<double>(report.connections));
  tell(line, fmt::format("all of it is there: {} were sent", readable_bytes(report.bytes)), std::move(object));
  return 0;
}

int run_page_server(const CommandLine& line) {
  const engine::RaisedLimits limits;
  if (!line.operands.empty()) usage("page-server takes no operand", "mini-criu page-server -D DIR");
  const std::string folder = line.settings.value("images-dir").value_or(".");
  refuse_stream(folder);
  const UniqueFd listener = listen(line, place_of_server(line.settings), "takes an image for", folder);
  Progress progress;
  std::optional<ProgressLine> shown;
  shown.emplace(progress, !line.settings.flag("json"));
  const auto report = images::take_image(
      listener.get(), folder, line.settings.flag("sync"), [](const std::string& path) { verify_chain(path); },
      &progress);
  shown.reset();
  if (!report.was_heard)
    log::warning("server", "{} has the image, but the sender has left before he was told: the program there goes on",
                 folder);
  JsonObject object;
  put(object, "files", static_cast<double>(report.files));
  put(object, "bytes", static_cast<double>(report.bytes));
  tell(line, fmt::format("{}: {} files, {}", folder, report.files, readable_bytes(report.bytes)), std::move(object));
  return 0;
}

}  // namespace mcr::cli
