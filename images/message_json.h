// A message of an image as JSON. docs/image-format.md says how its fields look. Pure; callable from any thread.
#pragma once

#include <google/protobuf/message.h>

#include <span>

#include "images/json_value.h"

namespace mcr::images {

Json json_of_message(const google::protobuf::Message& message);

// How a field is shown, for others that show fields.
bool shows_hexadecimal(const google::protobuf::FieldDescriptor& field);  // a 64-bit number: address, mask, checksum
bool shows_text(const google::protobuf::FieldDescriptor& field);         // bytes: the name of a program or a file
std::span<const char* const> register_names();                           // of struct user_regs_struct, in its order

}  // namespace mcr::images
