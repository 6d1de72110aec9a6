#include "core/jobs/job_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/sys/file.h"

namespace mcr::jobs {

void sync_folder(const std::string& folder) {
  sys::sync_fd(sys::open(folder, O_RDONLY | O_DIRECTORY).get());
}

void write_message(const std::string& path, const google::protobuf::Message& message, bool sync) {
  google::protobuf::util::JsonPrintOptions readable;
  readable.add_whitespace = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, readable);
  if (!status.ok()) throw Error(Fault::internal, "JSON: " + status.ToString());
  const std::string draft = path + ".new";
  {
    const UniqueFd fd = sys::open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    sys::write_text(fd.get(), text);
    if (sync) sys::sync_fd(fd.get());
  }
  sys::rename_at(AT_FDCWD, draft, AT_FDCWD, path);
  if (sync) sync_folder(std::filesystem::path(path).parent_path());
}

bool try_read_message(const std::string& path, google::protobuf::Message& message) {
  if (!sys::try_stat(path)) return false;
  read_message(path, message);
  return true;
}

void read_message(const std::string& path, google::protobuf::Message& message) {
  google::protobuf::util::JsonParseOptions lenient;
  lenient.ignore_unknown_fields = true;  // of a newer version
  const auto status = google::protobuf::util::JsonStringToMessage(sys::read_text(path), &message, lenient);
  if (!status.ok())
    throw Error(Fault::image, fmt::format("{} is damaged: {}", path, status.ToString()),
                "take it from a backup; the images beside it can be restored without it (mini-criu restore -D)");
}

}  // namespace mcr::jobs
