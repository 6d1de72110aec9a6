#include <fcntl.h>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/byte_text.h"
#include "images/format.h"
#include "images/message_json.h"
#include "images/show.h"

namespace mcr::images {
namespace {

Json json_of_page_file(int fd, const std::string& name) {
  const FileHeader header = read_page_header(fd, name);
  const auto size = static_cast<uint64_t>(sys::stat_fd(fd).st_size);
  JsonObject object;
  object.add("type", json_of_text("pages"));
  object.add("version", json_of_number(header.version));
  object.add("image_id", json_of_text(hexadecimal(header.image_id)));
  object.add("size", json_of_number(static_cast<double>(size)));
  object.add("data", json_of_number(static_cast<double>(size - kPageFileHeader)));
  return object.value();
}

Json json_of_next_record(RecordReader& reader, const std::string& type) {
  JsonObject object;
  object.add("type", json_of_text(type));
  object.add("message", json_of_message(*reader.read_any()));
  return object.value();
}

}  // namespace

std::string show_file_json(const std::string& path) {
  UniqueFd fd = sys::open(path, O_RDONLY | O_NONBLOCK);
  JsonList list;
  if (read_header(fd.get(), path).kind == FileKind::pages) {
    list.add(json_of_page_file(fd.get(), path));
  } else {
    RecordReader reader(std::move(fd), path);
    while (const auto type = reader.next_type()) list.add(json_of_next_record(reader, *type));
  }
  return json_text(list.value());
}

}  // namespace mcr::images
