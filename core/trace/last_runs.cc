#include "core/trace/last_runs.h"

#include <time.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/log.h"
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

// The moment of our own waking is known to both clocks; the least of several, as we may be interrupted in between.
std::optional<int64_t> measure_here() {
  std::optional<int64_t> least;
  for (int i = 0; i < 5; ++i) {
    const timespec instant{0, 1000};
    ::nanosleep(&instant, nullptr);
    const uint64_t now = sys::clock_ns(CLOCK_MONOTONIC);
    const auto text = sys::try_read_text("/proc/self/sched");
    const auto start = text ? procfs::parse_exec_start_ns(*text) : std::nullopt;
    if (!start) return std::nullopt;
    const int64_t offset = static_cast<int64_t>(now) - static_cast<int64_t>(*start);
    least = least ? std::min(*least, offset) : offset;
  }
  return least;
}

// Every processor has a clock of its own, which leaves out the time that interrupts and a hypervisor took from it. So
// it is asked on that very one. What it leaves out from now on makes a sleep seem shorter, never longer than it was.
class ProcessorClocks {
 public:
  ProcessorClocks() : own_(sys::affinity_of(HostTid(0))) {}
  ~ProcessorClocks() {
    try {
      sys::set_affinity(HostTid(0), own_);
    } catch (const Error& e) {
      log::warning("trace", "{}", e.what());
    }
  }
  ProcessorClocks(const ProcessorClocks&) = delete;
  ProcessorClocks& operator=(const ProcessorClocks&) = delete;

  std::optional<int64_t> offset_of(int processor) {
    const auto [entry, is_new] = offsets_.try_emplace(processor);
    if (!is_new) return entry->second;
    std::vector<std::byte> mask(own_.size());
    const auto byte = static_cast<size_t>(processor) / 8;
    if (processor < 0 || byte >= mask.size()) return std::nullopt;
    mask[byte] = std::byte{1} << (processor % 8);
    if (sys::try_set_affinity(HostTid(0), mask)) entry->second = measure_here();
    return entry->second;
  }

 private:
  std::vector<std::byte> own_;
  std::map<int, std::optional<int64_t>> offsets_;
};

}  // namespace

void LastRuns::note(HostPid pid) {
  ProcessorClocks clocks;
  for (const HostTid tid : threads_of(pid)) {
    const std::string base = fmt::format("/proc/{}/task/{}", pid, tid);
    const auto text = sys::try_read_text(base + "/sched"), stat = sys::try_read_text(base + "/stat");
    const auto start = text ? procfs::parse_exec_start_ns(*text) : std::nullopt;
    const auto switches = text ? number_after(*text, "\nnr_switches") : std::nullopt;
    if (!start || !switches || !stat) continue;
    const auto offset = clocks.offset_of(procfs::parse_stat(*stat).processor);
    if (offset) runs_[tid] = {*start, *switches, *offset, sys::try_read_text(base + "/wchan").value_or("")};
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
  return static_cast<uint64_t>(static_cast<int64_t>(run->exec_start_ns) + run->offset_ns);
}

std::string LastRuns::slept_in(HostPid pid, HostTid tid) const {
  const Run* run = unbroken(pid, tid);
  return run ? run->function : std::string();
}

}  // namespace mcr::trace
