#include "core/stacks/debug_folders.h"

#include <fmt/format.h>

#include "core/sys/file.h"
#include "core/sys/regular_file.h"

namespace mcr::stacks {

UniqueFd open_by_build_id(const std::vector<std::string>& folders, const std::string& build_id,
                          const std::string& ending) {
  constexpr size_t kShortest = 4;
  const bool is_one = build_id.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_one || build_id.size() < kShortest || build_id.size() % 2 != 0) return {};
  const std::string name = fmt::format("{}/{}{}", build_id.substr(0, 2), build_id.substr(2), ending);
  for (const std::string& folder : folders) {
    auto file = sys::open_regular(fmt::format("{}/.build-id/{}", folder, name));
    if (file && build_id_of(file->get()) == build_id) return std::move(*file);
  }
  return {};
}

ReadBytes bytes_of_file(int fd) {
  return [fd](uint64_t offset, std::span<std::byte> out) {
    if (offset > INT64_MAX - out.size()) return false;
    return sys::pread_whole(fd, out.data(), out.size(), offset) == out.size();
  };
}

std::string build_id_of(int fd) {
  const ReadBytes read = bytes_of_file(fd);
  const auto headers = read_elf_headers(read);
  return headers ? read_build_id(*headers, read, false) : std::string();
}

}  // namespace mcr::stacks
