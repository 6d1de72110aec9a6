// The memory policy of a thread (set_mempolicy(2)): where its new pages come from, in mappings without a policy.
#include <fcntl.h>
#include <sys/syscall.h>

#include "core/facets/factories.h"
#include "core/facets/value_check.h"
#include "core/procfs/numa_policy.h"
#include "core/sys/file.h"

namespace mcr::facets {
namespace {

constexpr uint32_t kManyThreads = 64;
constexpr int kMostWords = 16;         // 1024 nodes
constexpr uint32_t kFlags = 7u << 13;  // MPOL_F_STATIC_NODES, _RELATIVE_NODES, _NUMA_BALANCING
constexpr uint32_t kLastMode = 6;      // MPOL_WEIGHTED_INTERLEAVE, 6.9

// With one node all policies are the same.
bool has_several_nodes() {
  static const std::string online = sys::try_read_text("/sys/devices/system/node/online").value_or("0\n");
  return online != "0\n";
}

std::optional<procfs::NumaPolicy> ask(HostPid pid, HostTid tid, uint64_t mapping) {
  int code = 0;
  const auto file = sys::probe_open(fmt::format("/proc/{}/task/{}/numa_maps", pid, tid), O_RDONLY, code);
  if (!file) return std::nullopt;  // a kernel without CONFIG_NUMA
  const std::string key = fmt::format("{:08x} ", mapping);
  // Read by single lines: numa_maps walks the page tables of all that it prints, and prints as much as is asked for.
  std::string text, piece(64, '\0');
  for (size_t at = 0;;) {
    const size_t end = text.find('\n', at);
    if (end != text.npos) {
      if (text.compare(at, key.size(), key) == 0)
        return procfs::parse_numa_policy(std::string_view(text).substr(at, end - at));
      at = end + 1;
      continue;
    }
    const size_t got = sys::read_some(file->get(), piece.data(), piece.size());
    if (got == 0) return std::nullopt;
    text.append(piece, 0, got);
  }
}

class MemoryPolicy : public ThreadFacet {
 public:
  void dump(const ThreadView& view, google::protobuf::Any& out) override {
    if (view.status.threads > kManyThreads && !has_several_nodes()) return;
    const auto policy = ask(view.pid, view.thread.tid(), view.plain_mapping);
    if (!policy) return;
    image::ThreadMemoryPolicy message;
    message.set_mode(policy->mode);
    for (const uint64_t word : policy->nodes) message.add_nodes(word);
    out.PackFrom(message);
  }
  void check(const google::protobuf::Any& from) const override {
    image::ThreadMemoryPolicy m;
    if (!from.UnpackTo(&m)) return;
    require_value((m.mode() & ~kFlags) <= kLastMode, "mode", m.mode());
    require_value(m.nodes_size() <= kMostWords, "the number of words in nodes", m.nodes_size());
  }
  bool restore(const google::protobuf::Any& from, ThreadPlan& plan) override {
    image::ThreadMemoryPolicy m;
    if (!from.UnpackTo(&m)) return false;
    RemoteAddr mask;
    if (m.nodes_size() > 0)
      mask = plan.buffers.put(std::as_bytes(std::span(m.nodes().data(), static_cast<size_t>(m.nodes_size()))));
    // The kernel reads one bit less than it is told. A node that is missing here changes only where pages come from.
    const uint64_t bits = m.nodes_size() > 0 ? static_cast<uint64_t>(m.nodes_size()) * 64 + 1 : 0;
    plan.calls.add("set_mempolicy", SYS_set_mempolicy, {m.mode(), mask.get(), bits}, parasite::kMayFail);
    return true;
  }
};

}  // namespace

std::unique_ptr<ThreadFacet> make_memory_policy() {
  return std::make_unique<MemoryPolicy>();
}

}  // namespace mcr::facets
