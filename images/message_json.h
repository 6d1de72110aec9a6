// A message of an image as JSON. docs/image-format.md says how its fields look. Pure; callable from any thread.
#pragma once

#include <google/protobuf/message.h>

#include "images/json_value.h"

namespace mcr::images {

Json json_of_message(const google::protobuf::Message& message);

}  // namespace mcr::images
