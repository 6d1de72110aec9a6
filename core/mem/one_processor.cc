#include "core/mem/one_processor.h"

#include <algorithm>
#include <bit>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/process.h"

namespace mcr::mem {

OneProcessor::OneProcessor(const inject::NewProcess& process, const RestoreMemory& memory) : tid_(process.pid().get()) {
  if (std::ranges::none_of(memory.vmas, [](const auto& vma) { return vma.lazily_freed(); })) return;
  std::vector<std::byte> may = sys::affinity_of(tid_);
  const auto first = std::ranges::find_if(may, [](std::byte b) { return b != std::byte{0}; });
  if (first == may.end()) return;
  std::vector<std::byte> one(may.size());
  const auto bits = static_cast<unsigned>(*first);
  one[static_cast<size_t>(first - may.begin())] = std::byte(1u << std::countr_zero(bits));
  if (sys::try_set_affinity(tid_, one)) before_ = std::move(may);
}

OneProcessor::~OneProcessor() {
  if (before_.empty()) return;
  try {
    sys::set_affinity(tid_, before_);
  } catch (const Error& error) {
    log::debug("restore", "{}", error.what());
  }
}

}  // namespace mcr::mem
