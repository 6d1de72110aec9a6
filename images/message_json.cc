#include "images/message_json.h"

#include <fmt/format.h>
#include <google/protobuf/any.pb.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <iterator>

#include "images/byte_text.h"
#include "images/format.h"
#include "images/messages.h"

namespace mcr::images {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kShownBytes = 64;  // of bytes that are no text
constexpr int kMaxPacked = 4;       // Any in Any; a crafted file must not choose how deep this recurses

// Names of bytes fields that are text: what a program or a file is called, or says of itself.
constexpr std::string_view kTextWords[] = {"command", "name",      "path",  "target", "resource", "link",
                                           "root",    "hierarchy", "value", "folder", "ptmx"};

// Last words of the names of 64-bit fields whose bits are of interest, not their value: addresses, masks, checksums.
constexpr std::string_view kHexWords[] = {
    "address",   "start",    "end",      "brk",     "code",  "data",     "stack",       "list",
    "tid",       "handler",  "restorer", "blocked", "flags", "mask",     "inheritable", "permitted",
    "effective", "bounding", "ambient",  "value",   "xcr0",  "checksum", "checksums",
};

// struct user_regs_struct of x86-64.
constexpr const char* kRegisters[] = {
    "r15", "r14",      "r13", "r12", "rbp",    "rbx", "r11", "r10",     "r9",      "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs",  "eflags", "rsp", "ss",  "fs_base", "gs_base", "ds", "es",  "fs",  "gs",
};

template <size_t N>
bool ends_with_word(std::string_view name, const std::string_view (&words)[N]) {
  const std::string_view last = name.substr(name.rfind('_') + 1);  // the whole name when there is no '_'
  return std::find(std::begin(words), std::end(words), last) != std::end(words);
}

Json json_of_hex(uint64_t number) {
  return json_of_text(fmt::format("{:#x}", number));
}

Json json_of_binary(std::string_view bytes) {
  JsonObject object;
  object.add("bytes", json_of_number(static_cast<double>(bytes.size())));
  object.add("hex", json_of_text(hexadecimal(bytes.substr(0, kShownBytes)) + (bytes.size() > kShownBytes ? "…" : "")));
  return object.value();
}

Json json_of_registers(std::string_view bytes) {
  JsonObject object;
  size_t at = 0;
  for (const char* name : kRegisters) {
    object.add(name, json_of_hex(number_at<uint64_t>(bytes, at)));
    at += sizeof(uint64_t);
  }
  return object.value();
}

Json json_of_bytes(const FieldDescriptor& field, std::string_view bytes) {
  if (ends_with_word(field.name(), kTextWords)) return json_of_text(escaped(bytes));
  if (field.name() == "registers" && bytes.size() == std::size(kRegisters) * sizeof(uint64_t))
    return json_of_registers(bytes);
  return json_of_binary(bytes);
}

// One value of a message: a field, or an element of a repeated one.
struct Slot {
  const Message& message;
  const FieldDescriptor& field;
  int index;  // -1 for a field that is not repeated

  template <typename Single, typename Repeated>
  decltype(auto) get(Single single, Repeated repeated) const {
    const Reflection& reflection = *message.GetReflection();
    return index < 0 ? (reflection.*single)(message, &field) : (reflection.*repeated)(message, &field, index);
  }
};

Json json_of_wide(const Slot& slot) {
  const uint64_t number = slot.get(&Reflection::GetUInt64, &Reflection::GetRepeatedUInt64);
  return ends_with_word(slot.field.name(), kHexWords) ? json_of_hex(number) : json_of_text(fmt::to_string(number));
}

Json json_of_enum(const Slot& slot) {
  const int number = slot.get(&Reflection::GetEnumValue, &Reflection::GetRepeatedEnumValue);
  const auto* value = slot.field.enum_type()->FindValueByNumber(number);
  return value ? json_of_text(value->name()) : json_of_number(number);
}

Json json_of_string(const Slot& slot) {
  const std::string text = slot.get(&Reflection::GetString, &Reflection::GetRepeatedString);
  return slot.field.type() == FieldDescriptor::TYPE_BYTES ? json_of_bytes(slot.field, text) : json_of_text(text);
}

class Walk {
 public:
  Json json_of(const Message& message);

 private:
  Json json_of_field(const Message& message, const FieldDescriptor& field);
  Json json_of_slot(const Slot& slot);
  Json json_of_packed(const google::protobuf::Any& any);

  int packed_ = 0;  // how many Any we are in
};

Json Walk::json_of(const Message& message) {
  if (message.GetDescriptor() == google::protobuf::Any::descriptor())
    return json_of_packed(static_cast<const google::protobuf::Any&>(message));
  const auto& type = *message.GetDescriptor();
  JsonObject object;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    // A number that is 0 is worth saying, a message that is not there is not.
    if (field.has_presence() && !message.GetReflection()->HasField(message, &field)) continue;
    object.add(field.name(), json_of_field(message, field));
  }
  return object.value();
}

Json Walk::json_of_field(const Message& message, const FieldDescriptor& field) {
  if (!field.is_repeated()) return json_of_slot({message, field, -1});
  JsonList list;
  const int size = message.GetReflection()->FieldSize(message, &field);
  for (int i = 0; i < size; ++i) list.add(json_of_slot({message, field, i}));
  return list.value();
}

Json Walk::json_of_slot(const Slot& slot) {
  switch (slot.field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return json_of_flag(slot.get(&Reflection::GetBool, &Reflection::GetRepeatedBool));
    case FieldDescriptor::CPPTYPE_INT32:
      return json_of_number(slot.get(&Reflection::GetInt32, &Reflection::GetRepeatedInt32));
    case FieldDescriptor::CPPTYPE_UINT32:
      return json_of_number(slot.get(&Reflection::GetUInt32, &Reflection::GetRepeatedUInt32));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return json_of_number(slot.get(&Reflection::GetFloat, &Reflection::GetRepeatedFloat));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return json_of_number(slot.get(&Reflection::GetDouble, &Reflection::GetRepeatedDouble));
    case FieldDescriptor::CPPTYPE_INT64:
      return json_of_text(fmt::to_string(slot.get(&Reflection::GetInt64, &Reflection::GetRepeatedInt64)));
    case FieldDescriptor::CPPTYPE_UINT64:
      return json_of_wide(slot);
    case FieldDescriptor::CPPTYPE_ENUM:
      return json_of_enum(slot);
    case FieldDescriptor::CPPTYPE_STRING:
      return json_of_string(slot);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  const Reflection& reflection = *slot.message.GetReflection();
  return json_of(slot.index < 0 ? reflection.GetMessage(slot.message, &slot.field)
                                : reflection.GetRepeatedMessage(slot.message, &slot.field, slot.index));
}

// {"type": …, "message": {…}} as for a record; the bytes where this program does not know the message.
Json Walk::json_of_packed(const google::protobuf::Any& any) {
  const std::string_view url = any.type_url();
  const std::string_view name = url.substr(url.rfind('/') + 1);
  JsonObject object;
  object.add("type", json_of_text(name));
  const auto* type = packed_ < kMaxPacked ? find_message(name) : nullptr;
  const auto message = type ? new_message(type) : nullptr;
  if (message && parse_bounded(any.value(), *message)) {
    ++packed_;
    object.add("message", json_of(*message));
    --packed_;
  } else {
    object.add("unreadable", json_of_binary(any.value()));
  }
  return object.value();
}

}  // namespace

Json json_of_message(const Message& message) {
  return Walk().json_of(message);
}

bool shows_hexadecimal(const FieldDescriptor& field) {
  return ends_with_word(field.name(), kHexWords);
}
bool shows_text(const FieldDescriptor& field) {
  return ends_with_word(field.name(), kTextWords);
}
std::span<const char* const> register_names() {
  return kRegisters;
}

}  // namespace mcr::images
