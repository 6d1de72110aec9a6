// What was asked for: the values of the options, from the configuration files and the command line, later ones last.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "tools/option_table.h"

namespace mcr::cli {

class Settings {
 public:
  // origin: where a reader can find it ("FILE:3"); empty for the command line. Flags are "true" and "false".
  void add(const Option& option, std::string value, const std::string& origin = {});
  void merge(const Settings& later);

  bool flag(std::string_view name) const;
  std::optional<std::string> value(std::string_view name) const;  // the last one
  std::vector<std::string> values(std::string_view name) const;   // all of them, in order

  bool typed(std::string_view name) const;  // the last value stood on the command line

  // Throws Error(usage) that names every option given that is not built yet. What says "no" to one, or asks for
  // what happens anyway, is let through.
  void refuse_unbuilt() const;

 private:
  struct Given {
    std::vector<std::string> values;
    std::string origin;  // of the last value
  };
  std::map<const Option*, Given> given_;
};

// The one way to say that the command line is wrong.
[[noreturn]] void usage(std::string reason, std::string remedy = {},
                        std::source_location where = std::source_location::current());

}  // namespace mcr::cli
