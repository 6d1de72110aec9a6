// The memory of a process as a walk over its stacks reads it: what was copied while it stood still, else what a reader
// supplies (the living process, an image), page by page, a bounded number of them kept. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

namespace mcr::stacks {

// All of the bytes at an address, or false: they are not there, or cannot be had.
using ReadMemory = std::function<bool(uint64_t address, std::span<std::byte> out)>;

struct CopiedRange {
  uint64_t start = 0;  // a page
  std::vector<std::byte> bytes;
};

class Memory {
 public:
  // Later readers are asked for what the earlier ones do not have.
  Memory(std::vector<CopiedRange> copies, std::vector<ReadMemory> readers);

  bool read(uint64_t address, std::span<std::byte> out);
  void check() const;  // throws what a reader has thrown, which is not thrown through the library that asks for memory
  template <typename T>
  bool read_value(uint64_t address, T& value) {
    return read(address, std::as_writable_bytes(std::span(&value, 1)));
  }

 private:
  const std::byte* page_at(uint64_t page);  // null: it cannot be had
  bool fetch(uint64_t page, std::span<std::byte> out);

  std::vector<CopiedRange> copies_;
  std::vector<ReadMemory> readers_;
  std::unordered_map<uint64_t, std::vector<std::byte>> pages_;  // empty: it cannot be had
  std::exception_ptr failure_;
};

}  // namespace mcr::stacks
