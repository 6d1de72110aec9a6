#include "tools/json_object.h"

#include <google/protobuf/util/json_util.h>

#include "core/base/error.h"
#include "core/jobs/text.h"

namespace mcr::cli {

void put(JsonObject& object, const char* key, std::string_view text) {
  (*object.mutable_fields())[key].set_string_value(jobs::as_utf8(text));
}

void put(JsonObject& object, const char* key, double number) {
  (*object.mutable_fields())[key].set_number_value(number);
}

void put_flag(JsonObject& object, const char* key, bool flag) {
  (*object.mutable_fields())[key].set_bool_value(flag);
}

JsonObject& put_object(JsonObject& object, const char* key) {
  return *(*object.mutable_fields())[key].mutable_struct_value();
}

JsonList& put_list(JsonObject& object, const char* key) {
  return *(*object.mutable_fields())[key].mutable_list_value();
}

std::string json_text(const JsonObject& object) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(object, &text);
  if (!status.ok()) throw Error(Fault::internal, "JSON: " + status.ToString());
  return text;
}

}  // namespace mcr::cli
