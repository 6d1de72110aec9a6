#include "core/inject/batch.h"

#include <fmt/format.h>

#include "core/base/error.h"

namespace mcr::inject {

static parasite::Call make_call(long number, std::initializer_list<uint64_t> args, uint32_t flags) {
  parasite::Call call{};
  call.number = static_cast<uint32_t>(number);
  call.flags = flags;
  size_t i = 0;
  for (const uint64_t arg : args) call.args[i++] = arg;
  return call;
}

void CallList::add(const char* what, long number, std::initializer_list<uint64_t> args, uint32_t flags) {
  calls_.push_back(make_call(number, args, flags));
  names_.push_back(what);
}

size_t Batch::add(const char* what, long number, std::initializer_list<uint64_t> args, uint32_t flags) {
  calls_.push_back(make_call(number, args, flags));
  names_.push_back(what);
  return calls_.size() - 1;
}

void Batch::append(const CallList& list) {
  calls_.insert(calls_.end(), list.calls().begin(), list.calls().end());
  names_.insert(names_.end(), list.names().begin(), list.names().end());
}

RemoteAddr Batch::reserve(size_t bytes) {
  const size_t at = data_.size();
  data_.resize(at + (bytes + 7) / 8 * 8);
  if (data_.size() > area_.bytes)
    throw Error(Fault::internal, fmt::format("a batch of {} bytes exceeds its area of {}", data_.size(), area_.bytes));
  return area_.base + at;
}

RemoteAddr Batch::put(std::span<const std::byte> bytes) {
  const RemoteAddr at = reserve(bytes.size());
  if (!bytes.empty()) std::memcpy(data_.data() + (at.get() - area_.base.get()), bytes.data(), bytes.size());
  return at;
}

RemoteAddr Batch::put_string(const std::string& text) {
  return put(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
}

size_t Batch::offset_of(RemoteAddr at, size_t size) const {
  const uint64_t offset = at.get() - area_.base.get();
  if (offset > data_.size() || size > data_.size() - offset)
    throw Error(Fault::internal, "a buffer outside of its batch");
  return offset;
}

void Batch::clear() {
  data_.clear();
  clear_calls();
}

void Batch::clear_calls() {
  calls_.clear();
  names_.clear();
}

std::string describe_call(const char* what, const parasite::Call& call) {
  return fmt::format("{}({:#x}, {:#x}, {:#x}, {:#x}, {:#x}, {:#x})", what, call.args[0], call.args[1], call.args[2],
                     call.args[3], call.args[4], call.args[5]);
}

}  // namespace mcr::inject
