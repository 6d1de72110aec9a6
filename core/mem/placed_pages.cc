#include "core/mem/placed_pages.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/mem/filling.h"
#include "core/mem/vma_flags.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/user_fault.h"

namespace mcr::mem {
namespace {

using image::PageRun;
using image::Vma;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kWorthWatching = 256 << 10, kWorthBeginning = 4 << 20;
constexpr uint64_t kWorthACall = 8 << 10;  // on average: of single pages the process reads many by one call

// Then an ordinary fault brings what no single page of ours would: of the classic size, and since 6.8 of smaller ones.
bool come_huge_pages_unasked() {
  constexpr const char* kFolder = "/sys/kernel/mm/transparent_hugepage";
  const auto says_always = [](const std::string& file) {
    return sys::try_read_text(file).value_or("").find("[always]") != std::string::npos;
  };
  if (says_always(fmt::format("{}/enabled", kFolder))) return true;
  const auto names = sys::try_list_directory(kFolder);
  return names && std::ranges::any_of(*names, [&](const std::string& name) {
           return name.starts_with("hugepages-") && says_always(fmt::format("{}/{}/enabled", kFolder, name));
         });
}

struct Stored {
  uint64_t bytes = 0, runs = 0;
};

// By mapping. A run that is not inside of one counts for none: no dump writes such.
std::vector<Stored> stored_of(const RestoreMemory& memory) {
  std::vector<Stored> stored(memory.vmas.size());
  for (const PageRun& run : memory.runs) {
    if (run.shared() != 0) continue;
    const auto vma = std::ranges::partition_point(memory.vmas, [&](const Vma& m) { return m.end() <= run.start(); });
    if (vma == memory.vmas.end() || run.start() < vma->start() || run.bytes() > vma->end() - run.start()) continue;
    Stored& of_mapping = stored[static_cast<size_t>(vma - memory.vmas.begin())];
    of_mapping.bytes += run.bytes(), ++of_mapping.runs;
  }
  return stored;
}

bool is_set(const std::vector<bool>& flags, size_t i) {
  return i < flags.size() && flags[i];
}

// What joins two mappings again is made by the first fault in one of them, and not while only one is watched.
bool is_apart(const RestoreMemory& memory, size_t i) {
  const auto touches = [&](const Vma& a, const Vma& b) { return a.end() == b.start(); };
  return (i == 0 || !touches(memory.vmas[i - 1], memory.vmas[i]) || !has_pages(memory, memory.vmas[i - 1])) &&
         (i + 1 == memory.vmas.size() || !touches(memory.vmas[i], memory.vmas[i + 1]) ||
          !has_pages(memory, memory.vmas[i + 1]));
}

bool can_be_watched(const RestoreMemory& memory, size_t i) {
  const Vma& vma = memory.vmas[i];
  return is_plain_memory(vma) && !has_vm_flag(vma, "hg") && !is_set(memory.ready, i) && !is_set(memory.born_with, i) &&
         !is_set(memory.late, i) && !has_inherited(memory, vma) && (filling_prot(memory, vma) & PROT_WRITE) != 0 &&
         is_apart(memory, i);
}

std::vector<AddressRange> worth_watching(const RestoreMemory& memory) {
  const std::vector<Stored> stored = stored_of(memory);
  std::vector<AddressRange> found;
  uint64_t all = 0;
  for (size_t i = 0; i < stored.size(); ++i) {
    const auto [bytes, runs] = stored[i];
    if (bytes < kWorthWatching || bytes / runs < kWorthACall || !can_be_watched(memory, i)) continue;
    found.push_back({memory.vmas[i].start(), memory.vmas[i].end()});
    all += bytes;
  }
  if (all < kWorthBeginning || come_huge_pages_unasked()) found.clear();
  return found;
}

}  // namespace

PlacedPages::PlacedPages(inject::NewProcess& process, const RestoreMemory& memory) : pid_(process.pid()) {
  const auto wanted = worth_watching(memory);
  if (wanted.empty()) return;
  try {
    watch(process, wanted);
  } catch (const Error& error) {  // pidfd_getfd(2), which some containers forbid
    log::debug("mem", "pages come by faults: {}", error.what());
    mappings_.clear();
    file_.reset();
  }
}

void PlacedPages::watch(inject::NewProcess& process, const std::vector<AddressRange>& wanted) {
  auto [file, code] =
      process.channel().take_made("userfaultfd", SYS_userfaultfd, {sys::untouched_fault_flags()}, process.pidfd());
  if (file.valid()) code = sys::try_enable_untouched(file.get());
  if (code != 0) return log::debug("mem", "pages come by faults: userfaultfd fails with {}", sys::code_name(code));
  file_ = std::move(file);
  for (const AddressRange& range : wanted)
    if (sys::try_register_missing(file_.get(), range.start, range.end) == 0) mappings_.push_back(range);
  log::debug("mem", "pages of {} mappings are made with their content", mappings_.size());
}

bool PlacedPages::covers(const PageRun& run) const {
  if (run.shared() != 0) return false;
  const auto range =
      std::ranges::partition_point(mappings_, [&](const AddressRange& m) { return m.end <= run.start(); });
  return range != mappings_.end() && run.start() >= range->start && run.bytes() <= range->end - run.start();
}

void PlacedPages::put(uint64_t address, std::span<const std::byte> content) const {
  while (!content.empty()) {
    sys::Filled done = sys::try_copy_pages(file_.get(), address, content.data(), content.size());
    if (done.code == EEXIST && content.size() - done.bytes >= kPage) {  // somebody was here before, with less
      sys::write_memory(pid_, RemoteAddr(address + done.bytes), content.data() + done.bytes, kPage);
      done = {done.bytes + kPage, 0};
    }
    if (done.code != 0 && done.code != EAGAIN)
      sys::throw_code(done.code, fmt::format("UFFDIO_COPY to {:#x}", address + done.bytes));
    address += done.bytes;
    content = content.subspan(done.bytes);
  }
}

}  // namespace mcr::mem
