// JSON for output, through protobuf's Value, so that quoting and numbers are not our code. Its Struct forgets in which
// order members were added; a person wants `start` before `end`. So values are built in Value's wire form, which keeps
// it. Pure; callable from any thread.
#pragma once

#include <string>
#include <string_view>

namespace mcr::images {

struct Json {
  std::string wire;  // a google.protobuf.Value
};

Json json_of_text(std::string_view text);  // must be UTF-8
Json json_of_number(double number);
Json json_of_flag(bool flag);

class JsonObject {
 public:
  void add(std::string_view key, const Json& value);
  Json value() const;

 private:
  std::string wire_;
};

class JsonList {
 public:
  void add(const Json& element);
  Json value() const;

 private:
  std::string wire_;
};

// Several lines, ending with a line end. Throws when it would be beyond what protobuf prints, 2 GiB.
std::string json_text(const Json& value);

}  // namespace mcr::images
