#include "core/trace/last_runs.h"

#include <time.h>

#include <algorithm>
#include <array>

#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::trace {
namespace {

std::optional<uint64_t> number_after(const std::string& text, std::string_view key) {
  const size_t at = text.find(key), colon = at == std::string::npos ? at : text.find(':', at);
  if (colon == std::string::npos) return std::nullopt;
  return std::strtoull(text.c_str() + colon + 1, nullptr, 10);
}

// The moment of our own waking is known to both clocks; the middle of several, as we may be interrupted in between.
std::optional<int64_t> measure_offset() {
  std::array<int64_t, 5> offsets{};
  for (int64_t& offset : offsets) {
    const timespec instant{0, 1000};
    ::nanosleep(&instant, nullptr);
    const uint64_t now = sys::clock_ns(CLOCK_MONOTONIC);
    const auto text = sys::try_read_text("/proc/self/sched");
    const auto start = text ? procfs::parse_exec_start_ns(*text) : std::nullopt;
    if (!start) return std::nullopt;
    offset = static_cast<int64_t>(now) - static_cast<int64_t>(*start);
  }
  std::sort(offsets.begin(), offsets.end());
  return offsets[offsets.size() / 2];
}

}  // namespace

void LastRuns::note(HostPid pid) {
  const auto offset = measure_offset();
  if (!offset) return;
  offset_ns_ = *offset;
  for (const HostTid tid : threads_of(pid)) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/sched", pid, tid));
    const auto start = text ? procfs::parse_exec_start_ns(*text) : std::nullopt;
    const auto switches = text ? number_after(*text, "\nnr_switches") : std::nullopt;
    const auto function = sys::try_read_text(fmt::format("/proc/{}/task/{}/wchan", pid, tid));
    if (start && switches) runs_[tid] = {*start, *switches, function.value_or("")};
  }
}

// One switch more: to run into the stop and out of the processor again.
const LastRuns::Run* LastRuns::unbroken(HostPid pid, HostTid tid) const {
  const auto run = runs_.find(tid);
  if (run == runs_.end()) return nullptr;
  const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/sched", pid, tid));
  const auto switches = text ? number_after(*text, "\nnr_switches") : std::nullopt;
  return switches == run->second.switches + 1 ? &run->second : nullptr;
}

std::optional<uint64_t> LastRuns::slept_since(HostPid pid, HostTid tid) const {
  const Run* run = unbroken(pid, tid);
  if (!run) return std::nullopt;
  return static_cast<uint64_t>(static_cast<int64_t>(run->exec_start_ns) + offset_ns_);
}

std::string LastRuns::slept_in(HostPid pid, HostTid tid) const {
  const Run* run = unbroken(pid, tid);
  return run ? run->function : std::string();
}

}  // namespace mcr::trace
