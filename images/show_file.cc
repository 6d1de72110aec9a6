#include <fcntl.h>
#include <google/protobuf/util/json_util.h>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/format.h"
#include "images/json_text.h"
#include "images/messages.h"
#include "images/show.h"

namespace mcr::images {
namespace {

std::string indented(const std::string& text, const std::string& margin) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    if (at != 0) out += margin;
    out.append(text, at, end - at);
    at = end;
  }
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

std::string json_of(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;  // "fd": 0 is worth saying
  std::string json;
  // Fails on an Any of a type that this program does not know; the rest of the record can still be shown.
  if (google::protobuf::util::MessageToJsonString(message, &json, options).ok()) return indented(json, "    ");
  return fmt::format("{{\n     \"unprintable\": {}\n    }}", quoted(message.DebugString()));
}

std::string hexadecimal(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

std::string page_file_json(int fd, const std::string& name) {
  const FileHeader header = read_page_header(fd, name);
  const auto size = static_cast<uint64_t>(sys::stat_fd(fd).st_size);
  return fmt::format(
      "[\n  {{\"type\": \"pages\", \"version\": {}, \"image_id\": \"{}\", \"size\": {}, \"data\": {}}}\n]\n",
      header.version, hexadecimal(header.image_id), size, size - kPageFileHeader);
}

}  // namespace

std::string show_file_json(const std::string& path) {
  UniqueFd fd = sys::open(path, O_RDONLY | O_NONBLOCK);
  if (read_header(fd.get(), path).kind == FileKind::pages) return page_file_json(fd.get(), path);
  RecordReader reader(std::move(fd), path);
  std::string json = "[";
  while (const auto type = reader.next_type()) {
    json += json.size() > 1 ? ",\n" : "\n";
    json += fmt::format("  {{\"type\": {},\n    \"message\": {}}}", quoted(*type), json_of(*reader.read_any()));
  }
  return json + "\n]\n";
}

}  // namespace mcr::images
