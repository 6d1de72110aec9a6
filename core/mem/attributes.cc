#include "core/mem/attributes.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <utility>

#include "core/base/log.h"
#include "core/mem/guard_marks.h"
#include "core/mem/vma_flags.h"
#include "core/sys/failure.h"

namespace mcr::mem {
namespace {

constexpr int kSetVma = 0x53564d41, kAnonymousName = 0;      // PR_SET_VMA, PR_SET_VMA_ANON_NAME, 5.17
constexpr uint64_t kMove = 2;                                // MPOL_MF_MOVE
constexpr uint64_t kGuardInstall = 102, kGuardRemove = 103;  // MADV_GUARD_INSTALL, MADV_GUARD_REMOVE, 6.13

// "[anon:NAME]" and, of shared memory, "[anon_shmem:NAME]".
std::string given_name(const std::string& printed) {
  for (const std::string_view prefix : {"[anon:", "[anon_shmem:"})
    if (printed.starts_with(prefix) && printed.ends_with("]"))
      return printed.substr(prefix.size(), printed.size() - prefix.size() - 1);
  return {};
}

void add_policy(CallQueue& calls, const image::Vma& vma) {
  inject::Batch& batch = calls.batch();
  const auto& nodes = vma.policy().nodes();
  RemoteAddr mask;
  if (!nodes.empty()) mask = batch.put(std::as_bytes(std::span(nodes.data(), static_cast<size_t>(nodes.size()))));
  // The kernel reads one bit less than it is told.
  const uint64_t bits = nodes.empty() ? 0 : static_cast<uint64_t>(nodes.size()) * 64 + 1;
  calls.add_optional("mbind", SYS_mbind,
                     {vma.start(), vma.end() - vma.start(), vma.policy().mode(), mask.get(), bits,
                      vma.kind() == image::Vma::SHARED_ANONYMOUS ? kMove : 0},
                     "the memory policy of a mapping is left out");
}

// Of a file, which is not joined with a neighbour by filling it: guard_marks.h.
void add_guard_mark(CallQueue& calls, const image::Vma& vma) {
  for (const uint64_t advice : {kGuardInstall, kGuardRemove})
    calls.batch().try_add("madvise", SYS_madvise, {vma.start(), 4096, advice});
}

}  // namespace

void CallQueue::make_room() {
  if (!batch_.has_room_for(4096)) send();
}

void CallQueue::add_optional(const char* call, long number, std::initializer_list<uint64_t> args, std::string lost) {
  optional_.emplace_back(batch_.try_add(call, number, args), std::move(lost));
}

void CallQueue::run() {
  send();
  collect();
}

// There is one area, which the batch before has until it is executed.
void CallQueue::send() {
  collect();
  if (batch_.empty()) return;
  channel_.start(batch_);
  sent_.emplace(std::exchange(batch_, channel_.batch()));
  sent_optional_ = std::exchange(optional_, {});
}

void CallQueue::collect() {
  if (!sent_) return;
  channel_.finish(*sent_);
  for (const auto& [call, lost] : sent_optional_)
    if (const int64_t result = sent_->result(call); result < 0 && warned_.insert(lost).second)
      log::warning("mem", "{}: {}", lost, sys::code_name(static_cast<int>(-result)));
  sent_.reset();
}

void add_attributes(CallQueue& calls, const image::Vma& vma, bool in_whole_blocks) {
  const uint64_t bytes = vma.end() - vma.start();
  if (const std::string name = given_name(vma.name()); !name.empty())
    calls.add_optional("prctl(PR_SET_VMA)", SYS_prctl,
                       {kSetVma, kAnonymousName, vma.start(), bytes, calls.batch().put_string(name).get()},
                       "names of anonymous memory are left out (CONFIG_ANON_VMA_NAME)");
  if (vma.has_policy()) add_policy(calls, vma);
  if (has_vm_flag(vma, "gu") && vma.guards().empty() && !needs_guard_mark(vma)) add_guard_mark(calls, vma);
  for (const int advice : advice_before_filling(vma, in_whole_blocks))
    calls.batch().add("madvise", SYS_madvise, {vma.start(), bytes, static_cast<uint64_t>(advice)});
}

}  // namespace mcr::mem
