// Fuzz target of the configuration files: any text is either lines of options or refused with its place.
#include <cstdlib>
#include <string_view>

#include "core/base/error.h"
#include "tools/config_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    for (const auto& line : mcr::cli::parse_config(text, "x.conf"))
      if (!line.argument.starts_with("--") || !line.origin.starts_with("x.conf:")) std::abort();
  } catch (const mcr::Error& error) {
    if (error.fault() != mcr::Fault::usage || error.reason().find("x.conf:") == std::string::npos) std::abort();
  }
  return 0;
}
