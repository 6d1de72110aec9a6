// What a server of images and those who read from it say to each other over a connection: docs/image-format.md
// specifies the bytes. Numbers are little-endian, as they lie in memory. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mcr::images::far {

inline constexpr char kClientMark[8] = {'M', 'C', 'R', 'A', 'S', 'K', '0', '1'};
inline constexpr char kServerMark[8] = {'M', 'C', 'R', 'H', 'A', 'S', '0', '1'};
inline constexpr char kSenderMark[8] = {'M', 'C', 'R', 'G', 'I', 'V', '0', '1'};
inline constexpr char kTakerMark[8] = {'M', 'C', 'R', 'T', 'A', 'K', '0', '1'};
inline constexpr size_t kMostName = 255;
inline constexpr uint64_t kMostAsked = 64ull << 20;  // bytes of one answer
inline constexpr size_t kMostWords = 4096;           // of an answer that says why not

enum class Ask : uint32_t {
  size = 1,   // of a file
  bytes = 2,  // of a file
  done = 3    // nobody will ask again: the server may end
};

struct Question {  // the name follows
  Ask ask;
  uint32_t name_bytes;
  uint64_t offset, bytes;
};
static_assert(sizeof(Question) == 24);

enum class Outcome : uint32_t { good = 0, refused = 1, busy = 2 };  // busy: the answer is to come

struct Answer {
  Outcome outcome;
  uint32_t reserved;
  uint64_t bytes;  // `size`: of the file; else so many follow; refused: words that say why
};
static_assert(sizeof(Answer) == 16);

}  // namespace mcr::images::far
