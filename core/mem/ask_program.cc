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

// A key that is not given out is refused before the kernel looks for the mapping, which is not there.
MemoryQuestions::MemoryQuestions(inject::Batch& batch, std::vector<Vma>& vmas) : vmas_(vmas) {
  constexpr uint64_t kNobodys = 0xffff800000000000;  // of the kernel's half
  constexpr uint64_t kGetMemoryMerge = 68;           // PR_GET_MEMORY_MERGE
  for (uint64_t key = 0; key < kProtectionKeys; ++key)
    keys_.push_back(batch.try_add("pkey_mprotect", SYS_pkey_mprotect, {kNobodys, 4096, PROT_NONE, key}));
  merge_ = batch.try_add("prctl(PR_GET_MEMORY_MERGE)", SYS_prctl, {kGetMemoryMerge, 0, 0, 0, 0});
  ask_modes(batch);
}

// Of as many mappings as the batch has room for.
void MemoryQuestions::ask_modes(inject::Batch& batch) {
  asked_.clear();
  for (; next_ < vmas_.size() && batch.has_room_for(256); ++next_) {
    if (!can_have_policy(vmas_[next_])) continue;
    const RemoteAddr mode = batch.reserve(8);
    const size_t call =
        batch.try_add("get_mempolicy", SYS_get_mempolicy, {mode.get(), 0, 0, vmas_[next_].start(), kOfAddress});
    asked_.push_back({next_, call, mode});
  }
}

void MemoryQuestions::take_modes(const inject::Batch& batch) {
  if (!asked_.empty() && batch.result(asked_.front().call) == -ENOSYS) next_ = vmas_.size();
  for (const Asked& one : asked_)
    if (batch.result(one.call) == 0 && batch.get<uint32_t>(one.mode) != 0) chosen_.push_back(one.vma);
}

void MemoryQuestions::finish(const inject::Batch& batch, inject::Channel& channel, image::MemoryMap& map) {
  map.set_merge_any(batch.result(merge_) == 1);
  uint32_t given = 0;
  for (size_t key = 0; key < kProtectionKeys; ++key)
    if (batch.result(keys_[key]) == -ENOMEM) given |= 1U << key;
  map.set_protection_keys(given);
  take_modes(batch);
  while (next_ < vmas_.size()) {
    inject::Batch more = channel.batch();
    ask_modes(more);
    channel.run(more);
    take_modes(more);
  }
  for (const size_t i : chosen_) ask_policy(channel, vmas_[i]);
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
