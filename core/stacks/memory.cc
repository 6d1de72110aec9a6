#include "core/stacks/memory.h"

#include <algorithm>
#include <cstring>

namespace mcr::stacks {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kMostPages = 8192;  // 32 MiB

}  // namespace

Memory::Memory(std::vector<CopiedRange> copies, std::vector<ReadMemory> readers)
    : copies_(std::move(copies)), readers_(std::move(readers)) {}

bool Memory::fetch(uint64_t page, std::span<std::byte> out) {
  for (const CopiedRange& copy : copies_)
    if (page >= copy.start && page - copy.start < copy.bytes.size()) {
      std::memcpy(out.data(), copy.bytes.data() + (page - copy.start), out.size());
      return true;
    }
  try {
    return std::ranges::any_of(readers_, [&](const ReadMemory& reader) { return reader(page, out); });
  } catch (...) {
    failure_ = std::current_exception();
    return false;
  }
}

void Memory::check() const {
  if (failure_) std::rethrow_exception(failure_);
}

const std::byte* Memory::page_at(uint64_t page) {
  auto found = pages_.find(page);
  if (found == pages_.end()) {
    if (pages_.size() >= kMostPages) pages_.clear();
    std::vector<std::byte> bytes(kPage);
    if (!fetch(page, bytes)) bytes.clear();
    found = pages_.emplace(page, std::move(bytes)).first;
  }
  return found->second.empty() ? nullptr : found->second.data();
}

bool Memory::read(uint64_t address, std::span<std::byte> out) {
  if (address > UINT64_MAX - out.size()) return false;
  for (size_t done = 0; done < out.size();) {
    const uint64_t at = address + done, page = at / kPage * kPage;
    const std::byte* bytes = page_at(page);
    if (!bytes) return false;
    const size_t part = std::min<size_t>(out.size() - done, page + kPage - at);
    std::memcpy(out.data() + done, bytes + (at - page), part);
    done += part;
  }
  return true;
}

}  // namespace mcr::stacks
