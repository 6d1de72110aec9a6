#include "images/json_value.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>

#include <limits>
#include <memory>

#include "core/base/error.h"

namespace mcr::images {
namespace {

using google::protobuf::ListValue;
using google::protobuf::Struct;
using google::protobuf::Value;

// Field numbers of a map's entries are the same for every map.
constexpr uint32_t kEntryKey = 1;
constexpr uint32_t kEntryValue = 2;
constexpr uint32_t kLengthDelimited = 2;

void append_field(std::string& wire, uint32_t number, std::string_view content) {
  using google::protobuf::io::CodedOutputStream;
  uint8_t head[16];
  uint8_t* end = CodedOutputStream::WriteVarint32ToArray(number << 3 | kLengthDelimited, head);
  end = CodedOutputStream::WriteVarint64ToArray(content.size(), end);
  wire.append(head, end).append(content);
}

}  // namespace

Json json_of_text(std::string_view text) {
  Value value;
  value.set_string_value(std::string(text));
  return {value.SerializeAsString()};
}

Json json_of_number(double number) {
  Value value;
  value.set_number_value(number);
  return {value.SerializeAsString()};
}

Json json_of_flag(bool flag) {
  Value value;
  value.set_bool_value(flag);
  return {value.SerializeAsString()};
}

void JsonObject::add(std::string_view key, const Json& value) {
  std::string entry;
  append_field(entry, kEntryKey, key);
  append_field(entry, kEntryValue, value.wire);
  append_field(wire_, Struct::kFieldsFieldNumber, entry);
}

Json JsonObject::value() const {
  Json json;
  append_field(json.wire, Value::kStructValueFieldNumber, wire_);
  return json;
}

void JsonList::add(const Json& element) {
  append_field(wire_, ListValue::kValuesFieldNumber, element.wire);
}

Json JsonList::value() const {
  Json json;
  append_field(json.wire, Value::kListValueFieldNumber, wire_);
  return json;
}

std::string json_text(const Json& value) {
  using namespace google::protobuf::util;
  if (value.wire.size() > std::numeric_limits<int>::max())
    throw Error(Fault::image, "it is too large to be shown", "show other files of the image");
  const std::unique_ptr<TypeResolver> resolver(
      NewTypeResolverForDescriptorPool("type.googleapis.com", Value::descriptor()->file()->pool()));
  JsonPrintOptions options;
  options.add_whitespace = true;
  std::string text;
  const auto status =
      BinaryToJsonString(resolver.get(), "type.googleapis.com/google.protobuf.Value", value.wire, &text, options);
  if (!status.ok()) throw Error(Fault::internal, "JSON: " + status.ToString());
  if (!text.ends_with('\n')) text += '\n';
  return text;
}

}  // namespace mcr::images
