// Fuzz target of `show`: any message with any bytes in it becomes JSON that a parser takes. The first byte chooses the
// message, the rest is its wire form.
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/util/json_util.h>

#include <cstdlib>
#include <string>

#include "core/base/error.h"
#include "images/message_json.h"
#include "images/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const google::protobuf::LogSilencer silencer;
  static const auto types = mcr::images::all_messages();
  if (size == 0) return 0;
  const auto message = mcr::images::new_message(types[data[0] % types.size()]);
  if (!mcr::images::parse_bounded({reinterpret_cast<const char*>(data) + 1, size - 1}, *message)) return 0;
  const std::string text = mcr::images::json_text(mcr::images::json_of_message(*message));
  google::protobuf::Value value;
  google::protobuf::util::JsonParseOptions options;
  if (!google::protobuf::util::JsonStringToMessage(text, &value, options).ok()) std::abort();
  return 0;
}
