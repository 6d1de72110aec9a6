#include "core/stacks/stopped_tree.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/pagemap.h"
#include "core/trace/frozen_tree.h"
#include "core/trace/interrupted_call.h"

namespace mcr::stacks {
namespace {

constexpr uint64_t kPage = 4096, kRedZone = 128;
constexpr uint64_t kOfOneStack = 1 << 20, kOfAll = 256 << 20;  // bytes
constexpr int kMostStacks = 4;                                 // of one thread, with those that signals interrupted

// Pages that are not there end it, so that no page fault is caused in the program: one of userfaultfd(2) may be for a
// thread of its own to answer, which stands still.
uint64_t bytes_present(const sys::Pagemap& pagemap, uint64_t start, uint64_t most) {
  constexpr uint64_t kPresent = uint64_t{1} << 63, kSwapped = uint64_t{1} << 62;
  if (start > INT64_MAX - most) return 0;
  uint64_t pages = 0;
  for (const uint64_t word : pagemap.words(start, start + most)) {
    if ((word & (kPresent | kSwapped)) == 0) break;
    ++pages;
  }
  return pages * kPage;
}

// A guard page of MADV_GUARD_INSTALL looks swapped in kernels before 6.15: what lies before it is found by halves.
std::optional<CopiedRange> copy_stack(HostPid view, const sys::Pagemap& pagemap, uint64_t sp, uint64_t most) {
  CopiedRange copy;
  copy.start = (sp - std::min(sp, kRedZone)) / kPage * kPage;
  for (uint64_t bytes = bytes_present(pagemap, copy.start, most); bytes != 0; bytes = bytes / 2 / kPage * kPage) {
    copy.bytes.resize(bytes);
    if (sys::try_read_memory(view, RemoteAddr(copy.start), copy.bytes.data(), bytes)) return copy;
  }
  return std::nullopt;
}

// The kernel puts a struct rt_sigframe on the alternate stack (sigaltstack(2)) and says in it which stack that is: by
// that it is recognised, wherever it lies. Returns the stack pointer that the signal has interrupted.
std::optional<uint64_t> find_interrupted(const CopiedRange& copy) {
  struct SignalFrame {
    uint64_t return_address, flags, link, stack_start, stack_flags, stack_bytes;
    uint64_t registers[16];  // r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp
  };
  for (size_t at = 0; at + sizeof(SignalFrame) <= copy.bytes.size(); at += sizeof(uint64_t)) {
    SignalFrame frame;
    std::memcpy(&frame, copy.bytes.data() + at, sizeof frame);
    const uint64_t address = copy.start + at;
    constexpr uint64_t kKnownFlags = 7;  // UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
    const bool is_one = frame.flags != 0 && frame.flags <= kKnownFlags && frame.link == 0 && frame.stack_start != 0 &&
                        address >= frame.stack_start && address - frame.stack_start < frame.stack_bytes;
    if (is_one) return frame.registers[15];
  }
  return std::nullopt;
}

void copy_thread(HostPid view, const sys::Pagemap& pagemap, uint64_t sp, uint64_t& left, StoppedProcess& process) {
  for (int i = 0; i < kMostStacks; ++i) {
    auto copy = copy_stack(view, pagemap, sp, std::min(kOfOneStack, left / kPage * kPage));
    if (!copy) return;
    left -= std::min<uint64_t>(left, copy->bytes.size());
    const auto interrupted = find_interrupted(*copy);
    const bool is_known = interrupted && *interrupted >= copy->start && *interrupted - copy->start < copy->bytes.size();
    process.copies.push_back(std::move(*copy));
    if (!interrupted || is_known) return;
    sp = *interrupted;
  }
}

// A wait that any stop ends with EINTR is made again, unless a signal has ended it.
void settle(trace::Tracee& thread, HostPid view) {
  const sys::Registers& frame = thread.frame();
  if (static_cast<int64_t>(frame.orig_rax) < 0 || static_cast<int64_t>(frame.rax) != trace::kInterrupted) return;
  const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/status", view, thread.tid()));
  if (!text) return;
  const auto status = procfs::parse_status(*text);
  trace::settle_ended_call(thread, (status.sig_pending | status.shared_pending) & ~status.sig_blocked);
}

StoppedProcess copy_within(trace::FrozenProcess& frozen, uint64_t& left) {
  StoppedProcess process{frozen.pid, frozen.pid, frozen.zombie, {}, {}, {}};
  if (frozen.zombie) return process;
  process.view = frozen.view();
  const sys::Pagemap pagemap(process.view);
  for (const auto& thread : frozen.threads) {
    const sys::Registers registers = thread->frame();  // as it was stopped
    settle(*thread, process.view);
    process.threads.push_back({thread->tid(), registers, thread->group_stopped()});
    copy_thread(process.view, pagemap, registers.rsp, left, process);
  }
  return process;
}

}  // namespace

StoppedProcess copy_process(trace::FrozenProcess& frozen) {
  uint64_t left = kOfAll;
  return copy_within(frozen, left);
}

ReadMemory living_memory(HostPid view) {
  return [view](uint64_t address, std::span<std::byte> out) {
    return sys::try_read_memory(view, RemoteAddr(address), out.data(), out.size());
  };
}

StoppedTree copy_stacks(HostPid root, const std::map<HostPid, PythonInterpreter>& pythons,
                        const sys::Deadline& deadline, Damage& damage) {
  const sys::ChildSignal children;
  StoppedTree stopped;
  uint64_t left = kOfAll;
  trace::FrozenTree frozen(root, deadline, damage);
  for (const auto& process : frozen.processes()) {
    stopped.processes.push_back(copy_within(*process, left));
    const auto python = pythons.find(process->pid);
    if (python != pythons.end() && !process->zombie)
      stopped.processes.back().python = collect_python(python->second, living_memory(process->view()));
  }
  frozen.thaw();
  stopped.pause_us = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(sys::Clock::now() - frozen.first_stop()).count());
  return stopped;
}

}  // namespace mcr::stacks
