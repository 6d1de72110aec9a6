// Two messages of one type compared field by field, by reflection: a new field or message is compared without a line
// of code. Tables name what is special: fields that only say how the image is written, numbers that refer to other
// records, elements that have a key, bytes that have a structure. Pure; callable from any thread.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace mcr::images {

struct FieldChange {
  std::string path;           // "PosixTimers.timers[id 3].value_ns"
  std::string field;          // "PosixTimer.value_ns": the message that holds it, and its name
  std::string before, after;  // as text; "absent" for what is not there
  const google::protobuf::Message *a = nullptr, *b = nullptr;  // the messages that hold it
  // Those that hold these, unless they are records or packed in an Any themselves.
  const google::protobuf::Message *outer_a = nullptr, *outer_b = nullptr;
  const google::protobuf::Message* element = nullptr;  // of a list, that is there on one side only
  std::string_view a_bytes = {}, b_bytes = {};         // of a bytes field, where a rule needs them
};

class MessageDiffSink {
 public:
  virtual ~MessageDiffSink() = default;
  virtual void changed(const FieldChange& change) = 0;
  // A field that refers to a record of class `records` by number. 0 on one side or on both: no reference.
  virtual void refers(std::string_view records, uint64_t a, uint64_t b, const FieldChange& where) = 0;
};

// `path` begins the paths of changes; by default it is the message's name.
void compare_messages(const google::protobuf::Message& a, const google::protobuf::Message& b, MessageDiffSink& sink);

// The value of the field by which records or elements of this type are told apart, "fd 3"; empty when there is none.
std::string key_of(const google::protobuf::Message& message);
std::string short_name(const google::protobuf::Descriptor& type);  // "Vma"

}  // namespace mcr::images
