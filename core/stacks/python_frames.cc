#include "core/stacks/python_frames.h"

#include <algorithm>
#include <cstring>

namespace mcr::stacks {
namespace {

// CPython 3.11, 64 bits.
namespace at {
constexpr uint64_t runtime_interpreters = 40;                                           // _PyRuntimeState
constexpr uint64_t interpreter_next = 0, interpreter_threads = 16;                      // PyInterpreterState
constexpr uint64_t thread_next = 8, thread_frame = 56, thread_number = 160;             // PyThreadState
constexpr uint64_t holder_frame = 8;                                                    // _PyCFrame
constexpr uint64_t frame_code = 32, frame_previous = 48, frame_instruction = 56;        // _PyInterpreterFrame
constexpr uint64_t code_line = 72, code_file = 112, code_name = 128, code_lines = 136;  // PyCodeObject
constexpr uint64_t code_instructions = 184;
constexpr uint64_t text_length = 16, text_state = 32, text_ascii = 48, text_others = 72;  // PyASCIIObject
constexpr uint64_t bytes_length = 16, bytes_content = 32;                                 // PyBytesObject
}  // namespace at

constexpr uint64_t kVersion = 0x030b;
constexpr int kMostInterpreters = 64, kMostThreads = 4096;
constexpr size_t kMostPythonFrames = 512, kMostOfAll = 65536;
constexpr uint64_t kLongestText = 1024, kLongestLines = 1 << 20;

uint64_t word_at(const ReadMemory& read, uint64_t address) {
  uint64_t value = 0;
  return address != 0 && read(address, std::as_writable_bytes(std::span(&value, 1))) ? value : 0;
}

std::vector<PythonPlace> places_of(uint64_t thread, const ReadMemory& read, size_t most) {
  std::vector<PythonPlace> places;
  const uint64_t holder = word_at(read, thread + at::thread_frame);
  uint64_t frame = holder == 0 ? 0 : word_at(read, holder + at::holder_frame);
  while (frame != 0 && places.size() < most) {
    uint64_t fields[4];  // the code, the object of the frame, the frame before, the instruction
    static_assert(at::frame_previous == at::frame_code + 16 && at::frame_instruction == at::frame_code + 24);
    if (!read(frame + at::frame_code, std::as_writable_bytes(std::span(fields)))) break;
    places.push_back({fields[0], fields[3]});
    frame = fields[2];
  }
  return places;
}

void append_utf8(std::string& text, uint32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xc0 | c >> 6);
    text += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    text += static_cast<char>(0xe0 | c >> 12);
    text += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    text += static_cast<char>(0xf0 | (c >> 18 & 0x07));
    text += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    text += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (c & 0x3f));
  }
}

std::optional<std::string> text_at(uint64_t object, Memory& memory) {
  uint64_t length = 0;
  uint32_t state = 0;
  if (object == 0 || !memory.read_value(object + at::text_length, length) ||
      !memory.read_value(object + at::text_state, state))
    return std::nullopt;
  const uint32_t width = state >> 2 & 7;  // bytes of a character
  const bool is_compact = (state >> 5 & 1) != 0, is_ascii = (state >> 6 & 1) != 0;
  if (!is_compact || length > kLongestText || (width != 1 && width != 2 && width != 4)) return std::nullopt;
  std::vector<std::byte> bytes(length * width);
  if (!memory.read(object + (is_ascii ? at::text_ascii : at::text_others), bytes)) return std::nullopt;
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += width) {
    uint32_t c = 0;
    std::memcpy(&c, bytes.data() + i, width);
    append_utf8(text, c);
  }
  return text;
}

// Reads the numbers of a location table (Objects/locations.md): six bits a byte.
class LocationCursor {
 public:
  explicit LocationCursor(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool is_over() const { return at_ >= bytes_.size(); }
  uint8_t take() { return is_over() ? 0 : bytes_[at_++]; }
  uint32_t take_number() {
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 30; shift += 6) {
      const uint8_t byte = take();
      value |= uint32_t{byte & 0x3fu} << shift;
      if ((byte & 0x40) == 0) break;
    }
    return value;
  }
  int take_signed() {
    const uint32_t value = take_number();
    return (value & 1) != 0 ? -static_cast<int>(value >> 1) : static_cast<int>(value >> 1);
  }

 private:
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
};

int line_at(std::span<const uint8_t> table, int64_t line, uint64_t unit) {
  constexpr int kNoLocation = 15, kLong = 14, kNoColumns = 13, kOneLine = 10;
  LocationCursor cursor(table);
  for (uint64_t covered = 0; !cursor.is_over();) {
    const uint8_t first = cursor.take();
    const int form = first >> 3 & 15;
    if (form == kLong) {
      line += cursor.take_signed();
      for (int i = 0; i < 3; ++i) cursor.take_number();
    } else if (form == kNoColumns) {
      line += cursor.take_signed();
    } else if (form != kNoLocation) {
      if (form >= kOneLine) line += form - kOneLine, cursor.take();
      cursor.take();
    }
    covered += (first & 7) + 1u;
    if (unit < covered) return form == kNoLocation || line < 0 || line > INT32_MAX ? 0 : static_cast<int>(line);
  }
  return 0;
}

int line_of(const PythonPlace& place, Memory& memory) {
  int32_t first = 0;
  uint64_t lines = 0, length = 0;
  if (!memory.read_value(place.code + at::code_line, first) || !memory.read_value(place.code + at::code_lines, lines) ||
      !memory.read_value(lines + at::bytes_length, length) || length > kLongestLines)
    return 0;
  std::vector<uint8_t> table(length);
  if (!memory.read(lines + at::bytes_content, std::as_writable_bytes(std::span(table)))) return 0;
  const uint64_t start = place.code + at::code_instructions;
  if (place.instruction < start) return std::max(first, 0);  // it has not begun
  return line_at(table, first, (place.instruction - start) / 2);
}

}  // namespace

std::optional<PythonInterpreter> find_python(Modules& modules, Memory& memory) {
  for (const uint64_t code : modules.code_named("python")) {
    const auto found = modules.find_exported(code, {"_PyRuntime", "Py_Version"});
    uint64_t version = 0;
    if (!found.contains("_PyRuntime") || !found.contains("Py_Version")) continue;
    if (memory.read_value(found.at("Py_Version"), version) && version >> 16 == kVersion)
      return PythonInterpreter{found.at("_PyRuntime")};
  }
  return std::nullopt;
}

PythonPlaces collect_python(const PythonInterpreter& python, const ReadMemory& read) {
  PythonPlaces places;
  size_t left = kMostOfAll;
  uint64_t interpreter = word_at(read, python.runtime + at::runtime_interpreters);
  for (int i = 0; interpreter != 0 && i < kMostInterpreters; ++i) {
    uint64_t thread = word_at(read, interpreter + at::interpreter_threads);
    for (int j = 0; thread != 0 && j < kMostThreads && left > 0; ++j, --left) {
      const uint64_t number = word_at(read, thread + at::thread_number);
      if (number != 0 && !places.contains(number)) {
        places[number] = places_of(thread, read, std::min(left, kMostPythonFrames));
        left -= std::min(left - 1, places[number].size());
      }
      thread = word_at(read, thread + at::thread_next);
    }
    interpreter = word_at(read, interpreter + at::interpreter_next);
  }
  return places;
}

// A frame that has none is one that the interpreter has just begun, or no frame: it is left out.
std::vector<PythonFrame> name_python(const std::vector<PythonPlace>& places, Memory& memory) {
  std::vector<PythonFrame> frames;
  for (const PythonPlace& place : places) {
    uint64_t name = 0, file = 0;
    if (!memory.read_value(place.code + at::code_name, name) || !memory.read_value(place.code + at::code_file, file))
      continue;
    const auto name_text = text_at(name, memory), file_text = text_at(file, memory);
    if (name_text && file_text) frames.push_back({*name_text, *file_text, line_of(place, memory)});
  }
  return frames;
}

}  // namespace mcr::stacks
