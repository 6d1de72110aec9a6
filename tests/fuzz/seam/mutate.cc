// Changes an image where a format-blind mutation would only break a length: one value in one message, by reflection.
// The messages of the store and the kinds of files are found by themselves, so a new one needs nothing here.
#include <google/protobuf/any.pb.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <random>

#include "core/kinds/kind.h"
#include "images/messages.h"
#include "tests/fuzz/seam/image_folder.h"

extern "C" __attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t limit);

namespace mcr::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr int kDepth = 6;

constexpr uint64_t kNumbers[] = {
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    9,
    15,
    16,
    19,
    31,
    32,
    64,
    65,
    100,
    128,
    255,
    256,
    512,
    1000,
    4095,
    4096,
    4097,
    8192,
    65535,
    65536,
    1 << 20,
    1 << 30,
    0x7fffffff,
    0x80000000,
    0xffffffff,
    1ULL << 32,
    1ULL << 40,
    1ULL << 46,
    0x7ffffffff000,
    0x7fffffffe000,
    0x800000000000,
    0xffffffffff600000,
    1ULL << 62,
    0x7fffffffffffffff,
    0x8000000000000000,
    0xfffffffffffff000,
    0xffffffffffffffff,
};

const char* const kTexts[] = {"",
                              "/",
                              "..",
                              "../x",
                              "/../etc/passwd",
                              "/tmp/x",
                              "relative",
                              "pages-1.img",
                              "inventory.img",
                              "core-1.img",
                              "/proc/1/mem",
                              "/dev/null",
                              "rd",
                              "gd",
                              "regular_file",
                              "pipe"};

class Mutation {
 public:
  explicit Mutation(uint32_t seed) : random_(seed) {}
  size_t below(size_t limit) { return limit ? random_() % limit : 0; }
  void change(Message& message, int depth);
  std::string changed_bytes(std::string bytes);

 private:
  uint64_t number(uint64_t old);
  void change_field(Message& message, const FieldDescriptor& field, int depth);
  void change_repeated(Message& message, const FieldDescriptor& field, int depth);
  void change_any(google::protobuf::Any& any, int depth);
  std::string text(const FieldDescriptor& field, const std::string& old);

  std::mt19937 random_;
};

uint64_t Mutation::number(uint64_t old) {
  switch (below(5)) {
    case 0:
      return old + (below(2) ? 1 : 4096);
    case 1:
      return old - (below(2) ? 1 : 4096);
    case 2:
      return old ^ (uint64_t{1} << below(64));
    case 3:
      return below(64);
    default:
      return kNumbers[below(std::size(kNumbers))];
  }
}

std::string Mutation::changed_bytes(std::string bytes) {
  if (LLVMFuzzerMutate != nullptr && below(2) == 0) {
    const size_t size = bytes.size();
    bytes.resize(size + 32);
    bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(bytes.data()), size, bytes.size()));
    return bytes;
  }
  switch (below(4)) {
    case 0:
      if (!bytes.empty()) bytes[below(bytes.size())] ^= static_cast<char>(1 << below(8));
      return bytes;
    case 1:
      return bytes.substr(0, below(bytes.size() + 1));
    case 2:
      return bytes + std::string(1 + below(16), below(2) ? '\0' : 'x');
    default: {  // eight bytes, as most fields of a kernel struct are
      if (bytes.size() < 8) return bytes;
      const uint64_t value = kNumbers[below(std::size(kNumbers))];
      bytes.replace(below(bytes.size() / 8) * 8, 8, reinterpret_cast<const char*>(&value), 8);
      return bytes;
    }
  }
}

std::string Mutation::text(const FieldDescriptor& field, const std::string& old) {
  if (field.name() == "kind") {
    const auto& kinds = kinds::all_kinds();
    return kinds[below(kinds.size())]->name();
  }
  if (field.type() == FieldDescriptor::TYPE_STRING || below(4) == 0) return kTexts[below(std::size(kTexts))];
  return changed_bytes(old);
}

void Mutation::change_any(google::protobuf::Any& any, int depth) {
  if (below(30) == 0 || any.type_url().empty()) {
    static const auto types = images::all_messages();
    any.PackFrom(*images::new_message(types[below(types.size())]));
    return;
  }
  const auto* type = images::find_message(any.type_url().substr(any.type_url().rfind('/') + 1));
  if (!type || below(20) == 0) {
    any.set_value(changed_bytes(any.value()));
    return;
  }
  const auto inner = images::new_message(type);
  if (!images::parse_bounded(any.value(), *inner)) return any.clear_value();
  change(*inner, depth + 1);
  any.set_value(inner->SerializePartialAsString());
}

void Mutation::change_repeated(Message& message, const FieldDescriptor& field, int depth) {
  const auto* reflection = message.GetReflection();
  const int size = reflection->FieldSize(message, &field);
  const size_t choice = below(6);
  if (size > 0 && choice == 0) return reflection->RemoveLast(&message, &field);
  if (size > 1 && choice == 1)
    return reflection->SwapElements(&message, &field, static_cast<int>(below(static_cast<size_t>(size))), 0);
  const int index = size > 0 ? static_cast<int>(below(static_cast<size_t>(size))) : 0;
  const bool add = size == 0 || choice == 2;
  using Field = FieldDescriptor;
  switch (field.cpp_type()) {
    case Field::CPPTYPE_MESSAGE:
      if (!add) return change(*reflection->MutableRepeatedMessage(&message, &field, index), depth + 1);
      if (size > 0) {
        const auto copy = images::new_message(field.message_type());
        copy->CopyFrom(reflection->GetRepeatedMessage(message, &field, index));
        reflection->AddMessage(&message, &field)->CopyFrom(*copy);
      } else {
        reflection->AddMessage(&message, &field);
      }
      return;
    case Field::CPPTYPE_STRING:
      if (add) return reflection->AddString(&message, &field, kTexts[below(std::size(kTexts))]);
      return reflection->SetRepeatedString(&message, &field, index,
                                           text(field, reflection->GetRepeatedString(message, &field, index)));
    case Field::CPPTYPE_UINT64:
      if (add) return reflection->AddUInt64(&message, &field, number(0));
      return reflection->SetRepeatedUInt64(&message, &field, index,
                                           number(reflection->GetRepeatedUInt64(message, &field, index)));
    case Field::CPPTYPE_UINT32:
      if (add) return reflection->AddUInt32(&message, &field, static_cast<uint32_t>(number(0)));
      return reflection->SetRepeatedUInt32(
          &message, &field, index,
          static_cast<uint32_t>(number(reflection->GetRepeatedUInt32(message, &field, index))));
    case Field::CPPTYPE_INT32:
      if (add) return reflection->AddInt32(&message, &field, static_cast<int32_t>(number(1)));
      return reflection->SetRepeatedInt32(
          &message, &field, index,
          static_cast<int32_t>(number(static_cast<uint64_t>(reflection->GetRepeatedInt32(message, &field, index)))));
    default:
      return;
  }
}

void Mutation::change_field(Message& message, const FieldDescriptor& field, int depth) {
  const auto* reflection = message.GetReflection();
  if (field.is_repeated()) return change_repeated(message, field, depth);
  if (below(12) == 0) return reflection->ClearField(&message, &field);
  using Field = FieldDescriptor;
  switch (field.cpp_type()) {
    case Field::CPPTYPE_MESSAGE:
      return change(*reflection->MutableMessage(&message, &field), depth + 1);
    case Field::CPPTYPE_STRING:
      return reflection->SetString(&message, &field, text(field, reflection->GetString(message, &field)));
    case Field::CPPTYPE_BOOL:
      return reflection->SetBool(&message, &field, !reflection->GetBool(message, &field));
    case Field::CPPTYPE_ENUM:
      return reflection->SetEnumValue(&message, &field, static_cast<int>(below(10)));
    case Field::CPPTYPE_UINT64:
      return reflection->SetUInt64(&message, &field, number(reflection->GetUInt64(message, &field)));
    case Field::CPPTYPE_UINT32:
      return reflection->SetUInt32(&message, &field,
                                   static_cast<uint32_t>(number(reflection->GetUInt32(message, &field))));
    case Field::CPPTYPE_INT64:
      return reflection->SetInt64(
          &message, &field, static_cast<int64_t>(number(static_cast<uint64_t>(reflection->GetInt64(message, &field)))));
    case Field::CPPTYPE_INT32:
      return reflection->SetInt32(
          &message, &field, static_cast<int32_t>(number(static_cast<uint64_t>(reflection->GetInt32(message, &field)))));
    default:
      return;
  }
}

void Mutation::change(Message& message, int depth) {
  if (depth > kDepth) return;
  if (message.GetDescriptor() == google::protobuf::Any::descriptor())
    return change_any(static_cast<google::protobuf::Any&>(message), depth);
  const auto* type = message.GetDescriptor();
  if (type->field_count() == 0) return;
  change_field(message, *type->field(static_cast<int>(below(static_cast<size_t>(type->field_count())))), depth);
}

void change_frame(Mutation& mutation, Frame& frame) {
  const auto* type = images::find_message(frame.type);
  if (!type || mutation.below(40) == 0) {
    frame.payload = mutation.changed_bytes(frame.payload);
    return;
  }
  const auto message = images::new_message(type);
  if (!images::parse_bounded(frame.payload, *message)) return frame.payload.clear();
  for (size_t changes = 1 + mutation.below(3); changes > 0; --changes) mutation.change(*message, 0);
  frame.payload = message->SerializePartialAsString();
}

}  // namespace

std::string mutate(std::string_view bytes, size_t limit, uint32_t seed) {
  Mutation mutation(seed);
  ImageBytes image = parse_image(bytes);
  if (image.frames.empty()) return mutation.changed_bytes(std::string(bytes.substr(0, limit))).substr(0, limit);
  const size_t at = mutation.below(image.frames.size());
  switch (mutation.below(24)) {
    case 0:
      image.frames.erase(image.frames.begin() + static_cast<long>(at));
      break;
    case 1:
      image.frames.insert(image.frames.begin() + static_cast<long>(at), image.frames[at]);
      break;
    case 2:
      std::swap(image.frames[at], image.frames[mutation.below(image.frames.size())]);
      break;
    case 3:
      image.settings = mutation.changed_bytes(image.settings);
      image.settings.resize(ImageBytes::kSettings);
      break;
    default:
      change_frame(mutation, image.frames[at]);
  }
  const std::string changed = serialize(image);
  return changed.size() <= limit ? changed : std::string(bytes.substr(0, limit));
}

}  // namespace mcr::fuzz
