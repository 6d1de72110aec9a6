// Fuzz target of what `stacks` reads of a Python interpreter: its memory belongs to the program, or to whoever made the
// image. The bytes are that memory, with zeros behind them, and the same again every 16 KiB; nothing is there from
// 2^47 on. The interpreter is at its beginning.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "core/stacks/memory.h"
#include "core/stacks/python_frames.h"

namespace {

using namespace mcr::stacks;

constexpr uint64_t kRuntime = 0x10000, kPeriod = 0x4000, kEnd = uint64_t{1} << 47;
constexpr size_t kMostOfThread = 512, kMostOfAll = 65536, kMostNamed = 8, kMostText = 4 * 1024;

bool read_at(std::span<const uint8_t> bytes, uint64_t address, std::span<std::byte> out) {
  if (address >= kEnd || out.size() > kEnd - address) return false;
  for (size_t i = 0; i < out.size(); ++i) {
    const uint64_t at = (address + i) % kPeriod;
    out[i] = at < bytes.size() ? static_cast<std::byte>(bytes[at]) : std::byte{0};
  }
  return true;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ReadMemory read = [bytes = std::span(data, size)](uint64_t address, std::span<std::byte> out) {
    return read_at(bytes, address, out);
  };
  const PythonPlaces places = collect_python({kRuntime}, read);
  size_t all = 0, named = 0;
  for (const auto& [number, frames] : places) {
    require(number != 0 && frames.size() <= kMostOfThread);
    all += frames.size();
  }
  require(all <= kMostOfAll);
  Memory memory({}, {read});
  for (const auto& [number, frames] : places) {
    if (++named > kMostNamed) break;
    const std::vector<PythonPlace> first(frames.begin(),
                                         frames.begin() + static_cast<long>(std::min(frames.size(), kMostNamed)));
    const auto said = name_python(first, memory);
    require(said.size() <= first.size());
    for (const PythonFrame& frame : said)
      require(frame.line >= 0 && frame.function.size() <= kMostText && frame.file.size() <= kMostText);
  }
  return 0;
}
