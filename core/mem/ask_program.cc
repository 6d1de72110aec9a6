#include "core/mem/ask_program.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>

#include "core/mem/protection_keys.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"

namespace mcr::mem {
namespace {

using image::Vma;

constexpr uint64_t kOfAddress = 2;     // MPOL_F_ADDR
constexpr uint64_t kMostNodes = 1024;  // MAX_NUMNODES of every distribution; get_mempolicy(2) fails with less
constexpr size_t kMaskWords = kMostNodes / 64;

bool can_have_policy(const Vma& vma) {
  return vma.kind() != Vma::VDSO && vma.kind() != Vma::VVAR && vma.kind() != Vma::VSYSCALL;
}

// The modes of so many mappings that one batch has room for, from `first` on; returns the index behind the last one.
size_t ask_modes(inject::Channel& channel, const std::vector<Vma>& vmas, size_t first, std::vector<size_t>& chosen) {
  inject::Batch batch = channel.batch();
  std::vector<std::pair<size_t, RemoteAddr>> asked;
  size_t next = first;
  for (; next < vmas.size() && batch.has_room_for(256); ++next) {
    if (!can_have_policy(vmas[next])) continue;
    asked.emplace_back(next, batch.reserve(8));
    batch.try_add("get_mempolicy", SYS_get_mempolicy,
                  {asked.back().second.get(), 0, 0, vmas[next].start(), kOfAddress});
  }
  if (asked.empty()) return next;
  channel.run(batch);
  if (batch.result(0) == -ENOSYS) return vmas.size();
  for (size_t i = 0; i < asked.size(); ++i)
    if (batch.result(i) == 0 && batch.get<uint32_t>(asked[i].second) != 0) chosen.push_back(asked[i].first);
  return next;
}

void ask_policy(inject::Channel& channel, Vma& vma) {
  inject::Batch batch = channel.batch();
  const RemoteAddr mode = batch.reserve(8), nodes = batch.reserve(kMostNodes / 8);
  batch.add("get_mempolicy", SYS_get_mempolicy, {mode.get(), nodes.get(), kMostNodes, vma.start(), kOfAddress});
  channel.run(batch);
  auto* policy = vma.mutable_policy();
  policy->set_mode(batch.get<uint32_t>(mode));
  const auto mask = batch.get<std::array<uint64_t, kMaskWords>>(nodes);
  size_t used = mask.size();
  while (used > 0 && mask[used - 1] == 0) --used;
  for (size_t i = 0; i < used; ++i) policy->add_nodes(mask[i]);
}

}  // namespace

void ask_policies(inject::Channel& channel, std::vector<Vma>& vmas) {
  std::vector<size_t> chosen;
  for (size_t next = 0; next < vmas.size();) next = ask_modes(channel, vmas, next, chosen);
  for (const size_t i : chosen) ask_policy(channel, vmas[i]);
}

// A key that is not given out is refused before the kernel looks for the mapping, which is not there.
void ask_defaults(inject::Channel& channel, image::MemoryMap& map) {
  constexpr uint64_t kNobodys = 0xffff800000000000;  // of the kernel's half
  constexpr uint64_t kGetMemoryMerge = 68;           // PR_GET_MEMORY_MERGE
  inject::Batch batch = channel.batch();
  for (uint64_t key = 0; key < kProtectionKeys; ++key)
    batch.try_add("pkey_mprotect", SYS_pkey_mprotect, {kNobodys, 4096, PROT_NONE, key});
  const size_t merge = batch.try_add("prctl(PR_GET_MEMORY_MERGE)", SYS_prctl, {kGetMemoryMerge, 0, 0, 0, 0});
  channel.run(batch);
  map.set_merge_any(batch.result(merge) == 1);
  uint32_t given = 0;
  for (size_t key = 0; key < kProtectionKeys; ++key)
    if (batch.result(key) == -ENOMEM) given |= 1U << key;
  map.set_protection_keys(given);
}

void find_future_locks(const inject::ParasiteSession& parasite, uint64_t locked_kb, image::MemoryMap& map) {
  const HostPid pid = parasite.pid();
  const auto now = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", pid)));
  if (now.locked_kb <= locked_kb) return;
  for (const auto& m : procfs::parse_smaps(sys::read_text(fmt::format("/proc/{}/smaps", pid)))) {
    if (m.start < parasite.start() || m.end > parasite.end() || !m.has_flag("lo")) continue;
    map.set_lock_future(MCL_FUTURE | (m.has_flag("lf") ? MCL_ONFAULT : 0U));
    return;
  }
}

}  // namespace mcr::mem
