// The build-id of an ELF file (the NT_GNU_BUILD_ID note), in hexadecimal; empty when it has none or is no ELF file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace mcr::kinds {

inline constexpr uint64_t kSmallestElf = 64;  // its header

std::string find_build_id(std::span<const std::byte> notes);  // of a PT_NOTE segment
std::string read_build_id(const std::string& path);
std::string read_build_id(int fd);  // open for reading; its position stays

}  // namespace mcr::kinds
