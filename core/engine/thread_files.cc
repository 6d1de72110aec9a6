#include "core/engine/thread_files.h"
#include "core/base/aside.h"

#include <array>
#include <span>

#include "core/sys/file.h"

namespace mcr::engine {
namespace {

constexpr size_t kMany = 64;

// Those that a thread can have without a working directory of its own (unshare(2), setns(2)).
constexpr const char* kNamespaces[] = {"net", "uts", "ipc", "cgroup", "pid_for_children", "time_for_children"};
// To ask for them costs as much as all else of a thread: of very many threads the first ones stand for all.
constexpr size_t kMostAskedForNamespaces = 128;

std::string foreign_namespace(HostPid pid, HostTid tid, const std::array<std::string, std::size(kNamespaces)>& common) {
  for (size_t i = 0; i < common.size() && pid.get() != tid.get(); ++i) {
    auto link = sys::try_read_link(fmt::format("/proc/{}/task/{}/ns/{}", pid, tid, kNamespaces[i]));
    if (link && !common[i].empty() && *link != common[i]) return *link;
  }
  return {};
}

std::vector<ThreadFiles> read_some(HostPid pid, std::span<const HostTid> tids, bool with_slack) {
  std::vector<ThreadFiles> files;
  files.reserve(tids.size());
  std::array<std::string, std::size(kNamespaces)> common;
  for (size_t i = 0; i < common.size() && tids.size() > 1; ++i)
    common[i] = sys::try_read_link(fmt::format("/proc/{}/ns/{}", pid, kNamespaces[i])).value_or("");
  for (const HostTid tid : tids) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/status", pid, tid));
    if (!text) continue;
    // /proc/TID leads to any thread, though only processes are listed there.
    const auto slack =
        with_slack ? sys::try_read_text(fmt::format("/proc/{}/timerslack_ns", tid)) : std::optional<std::string>();
    files.push_back({tid, procfs::parse_status(*text), slack ? std::stoull(*slack) : 0, {}});
    if (files.size() <= kMostAskedForNamespaces) files.back().foreign_namespace = foreign_namespace(pid, tid, common);
  }
  return files;
}

}  // namespace

std::vector<ThreadFiles> read_thread_status(HostPid pid, const std::vector<HostTid>& tids) {
  const std::span<const HostTid> all(tids);
  if (tids.size() < kMany) return read_some(pid, all, false);
  const auto half = all.size() / 2;
  auto first = begin_aside(read_some, pid, all.first(half), false);
  std::vector<ThreadFiles> rest = read_some(pid, all.subspan(half), false);
  std::vector<ThreadFiles> files = first.get();
  files.insert(files.end(), std::make_move_iterator(rest.begin()), std::make_move_iterator(rest.end()));
  return files;
}

std::future<std::vector<ThreadFiles>> begin_thread_files(HostPid pid, std::vector<HostTid> tids) {
  const auto work = [pid, tids] { return read_some(pid, tids, true); };
  return tids.size() < kMany ? std::async(std::launch::deferred, work) : begin_aside(work);
}

}  // namespace mcr::engine
