// The build-id of an ELF file (the NT_GNU_BUILD_ID note), in hexadecimal; empty when it has none or is no ELF file.
#pragma once

#include <string>

namespace mcr::kinds {

std::string read_build_id(const std::string& path);

}  // namespace mcr::kinds
