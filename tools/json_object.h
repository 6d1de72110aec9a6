// JSON output through protobuf's Struct, so that quoting and numbers are not our code.
#pragma once

#include <google/protobuf/struct.pb.h>

#include <string>
#include <string_view>

namespace mcr::cli {

using JsonObject = google::protobuf::Struct;
using JsonList = google::protobuf::ListValue;

void put(JsonObject& object, const char* key, std::string_view text);
void put(JsonObject& object, const char* key, double number);
void put_flag(JsonObject& object, const char* key, bool flag);  // a name of its own: a pointer would convert to bool
JsonObject& put_object(JsonObject& object, const char* key);
JsonList& put_list(JsonObject& object, const char* key);
std::string json_text(const JsonObject& object);  // one line

}  // namespace mcr::cli
