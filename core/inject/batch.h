// A batch of system calls that another process executes for us, and the buffers they point to.
//
// Build it against a channel's area, run it there (Channel::run), then read results and buffers. Addresses that
// reserve() and put() return are valid in the other process while the batch runs. Not thread-safe.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "parasite/protocol.h"

namespace mcr::inject {

// Calls without buffers of their own: what one thread is to do. Joined to a batch, or laid out for a new thread.
class CallList {
 public:
  void add(const char* what, long number, std::initializer_list<uint64_t> args, uint32_t flags = 0);
  const std::vector<parasite::Call>& calls() const { return calls_; }
  const std::vector<const char*>& names() const { return names_; }

 private:
  std::vector<parasite::Call> calls_;
  std::vector<const char*> names_;
};

struct Area {  // memory of the other process that a batch may use
  RemoteAddr base;
  size_t bytes = 0;
};

class Batch {
 public:
  explicit Batch(Area area) : area_(area) {}

  // Returns the index of the call. `what` is a string literal for the error message.
  size_t add(const char* what, long number, std::initializer_list<uint64_t> args, uint32_t flags = 0);
  size_t try_add(const char* what, long number, std::initializer_list<uint64_t> args) {
    return add(what, number, args, parasite::kMayFail);
  }
  void append(const CallList& list);
  RemoteAddr reserve(size_t bytes);  // zeroed, 8-byte aligned
  RemoteAddr put(std::span<const std::byte> bytes);
  RemoteAddr put_string(const std::string& text);
  template <typename T>
  RemoteAddr put_value(const T& value) {
    return put(std::as_bytes(std::span(&value, 1)));
  }

  int64_t result(size_t call) const { return calls_.at(call).result; }
  template <typename T>
  T get(RemoteAddr at) const {
    T value;
    std::memcpy(&value, data_.data() + offset_of(at, sizeof value), sizeof value);
    return value;
  }
  template <typename T>
  void set(RemoteAddr at, const T& value) {
    std::memcpy(data_.data() + offset_of(at, sizeof value), &value, sizeof value);
  }

  bool empty() const { return calls_.empty(); }
  size_t size() const { return calls_.size(); }
  size_t bytes() const { return data_.size() + calls_.size() * sizeof(parasite::Call); }
  bool has_room_for(size_t more_bytes) const { return bytes() + more_bytes + 64 <= area_.bytes; }
  void clear();
  void clear_calls();  // the buffers stay, for calls that follow

 private:
  friend class Channel;
  size_t offset_of(RemoteAddr at, size_t size) const;

  Area area_;
  std::vector<std::byte> data_;
  std::vector<parasite::Call> calls_;
  std::vector<const char*> names_;
};

// The text of a failed call: "mmap(0x7f.., 0x1000, ...)".
std::string describe_call(const char* what, const parasite::Call& call);

}  // namespace mcr::inject
