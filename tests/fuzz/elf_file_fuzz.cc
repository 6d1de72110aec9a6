// Fuzz target of what `stacks` reads of ELF files, and of a walk with what they say: files belong to the user whose
// program it is.
#include <cstdlib>
#include <cstring>

#include "core/base/error.h"
#include "core/stacks/walk.h"
#include "core/sys/file.h"

using namespace mcr::stacks;

namespace {

constexpr uint64_t kBase = 0x10000, kStack = 0x7f0000000000, kStackBytes = 4096;
constexpr uint64_t kPlaces[] = {0x300, 0x30c, 0x36c};  // in the functions of the corpus

// The file as it is, mapped whole at one place, executable; behind it is nothing.
Walked walk_in(std::span<const std::byte> bytes, int fd, uint64_t offset) {
  const auto file = [bytes](uint64_t page, std::span<std::byte> out) {
    std::ranges::fill(out, std::byte{0});
    if (page >= kStack && page < kStack + kStackBytes) {
      const uint64_t inside[] = {kBase + kPlaces[1], kStack + 64, kBase + kPlaces[2], kBase + kPlaces[0]};
      std::memcpy(out.data(), inside, sizeof inside);
      return true;
    }
    if (page < kBase || page - kBase >= bytes.size()) return false;
    const auto part = bytes.subspan(page - kBase).first(std::min(out.size(), bytes.size() - (page - kBase)));
    std::memcpy(out.data(), part.data(), part.size());
    return true;
  };
  const uint64_t end = kBase + (bytes.size() + 4095) / 4096 * 4096;
  Memory memory({}, {file});
  Modules modules({{kBase, end, true, 0, "file", 1, {}}}, memory,
                  [fd](const Region&, std::string&) { return mcr::sys::duplicate(fd); }, {});
  mcr::sys::Registers registers{};
  registers.rip = kBase + offset, registers.rsp = kStack, registers.rbp = kStack + 16;
  Walker walker(modules, memory);
  return walker.walk(registers);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const ReadBytes read = [bytes](uint64_t offset, std::span<std::byte> out) {
    if (offset > bytes.size() || out.size() > bytes.size() - offset) return false;
    if (!out.empty()) std::memcpy(out.data(), bytes.data() + offset, out.size());
    return true;
  };
  const auto headers = read_elf_headers(read);
  if (!headers) return 0;
  if (read_build_id(*headers, read, false).size() > 2 * size) std::abort();
  const std::set<uint64_t> wanted{0, kPlaces[0], kPlaces[1], kPlaces[2], 0x400148, 0x401000, UINT64_MAX};
  for (const auto& names : {read_file_symbols(*headers, read, wanted), read_dynamic_symbols(*headers, read, 0, wanted)})
    for (const auto& [address, symbol] : names)
      if (symbol.name.empty() || symbol.name.size() > size || !wanted.contains(address)) std::abort();
  if (const auto index = index_frames(*headers, read); index && index->entries.size() > size) std::abort();
  const mcr::UniqueFd file = mcr::sys::make_memfd("elf");
  mcr::sys::write_fully(file.get(), data, size);
  for (const uint64_t offset : kPlaces)
    if (walk_in(bytes, file.get(), offset).frames.size() > kMostFrames) std::abort();
  return 0;
}
