// Which messages an image may contain. Callable from any thread.
#pragma once

#include <google/protobuf/message.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mcr::images {

// The message of that full name; nullptr unless it is one of package mcr.image that this program knows.
const google::protobuf::Descriptor* find_message(std::string_view full_name);
std::vector<const google::protobuf::Descriptor*> all_messages();  // by file, in their order there
std::unique_ptr<google::protobuf::Message> new_message(const google::protobuf::Descriptor* type);
// False when the bytes are no such message, or nest deeper than any message of ours does.
bool parse_bounded(std::string_view bytes, google::protobuf::Message& message);

}  // namespace mcr::images
