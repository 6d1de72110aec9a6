#include "core/inspect/core_notes.h"

#include <elf.h>
#include <signal.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/arch/xstate.h"
#include "core/base/error.h"
#include "core/facets/extended_state.h"
#include "images/proto/facets.pb.h"

namespace mcr::inspect {
namespace {

constexpr size_t kSiginfoBytes = 128, kFxsaveBytes = 512;
constexpr size_t kXcr0Offset = 464;  // in the reserved bytes of an FXSAVE area, where the kernel and gdb put it

template <typename M>
std::optional<M> facet_of(const google::protobuf::RepeatedPtrField<google::protobuf::Any>& facets) {
  M message;
  for (const auto& any : facets)
    if (any.UnpackTo(&message)) return message;
  return std::nullopt;
}

std::string padded(std::string text) {
  text.resize((text.size() + 3) / 4 * 4);
  return text;
}

std::string note(const char* owner, uint32_t type, const std::string& content) {
  if (content.size() > UINT32_MAX) throw Error(Fault::image, "more notes than a core can hold");
  const std::string name(owner, std::strlen(owner) + 1);
  const Elf64_Nhdr header{static_cast<Elf64_Word>(name.size()), static_cast<Elf64_Word>(content.size()), type};
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + padded(name) + padded(content);
}

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <size_t N>
void copy_text(char (&to)[N], const std::string& text) {
  std::memcpy(to, text.data(), std::min(text.size(), N - 1));
}

// ---- signals ----

std::optional<siginfo_t> first_pending(const google::protobuf::RepeatedPtrField<google::protobuf::Any>& facets) {
  const auto signals = facet_of<image::PendingSignals>(facets);
  siginfo_t info{};
  if (!signals || signals->siginfo_size() == 0 || signals->siginfo(0).size() != kSiginfoBytes) return std::nullopt;
  std::memcpy(&info, signals->siginfo(0).data(), kSiginfoBytes);
  return info;
}

bool is_fault(const siginfo_t& info) {
  constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
  return info.si_code > 0 && std::ranges::find(kFaults, info.si_signo) != std::end(kFaults);
}

std::vector<const image::ThreadCore*> threads_in_order(const tree::ProcessImage& process) {
  std::vector<const image::ThreadCore*> threads;
  for (const auto& thread : process.threads)
    if (!thread.has_ended()) threads.push_back(&thread);
  const auto faulting = std::ranges::find_if(threads, [](const image::ThreadCore* thread) {
    const auto info = first_pending(thread->facets());
    return info && is_fault(*info);
  });
  if (faulting != threads.end()) std::rotate(threads.begin(), faulting, std::next(faulting));
  return threads;
}

siginfo_t shown_signal(const tree::ProcessImage& process, const image::ThreadCore& first) {
  if (const auto own = first_pending(first.facets())) return *own;
  return first_pending(process.core.facets()).value_or(siginfo_t{});
}

// ---- threads ----

std::string status_note(const tree::ProcessImage& process, const image::ThreadCore& thread) {
  elf_prstatus status{};
  if (thread.registers().size() != sizeof status.pr_reg)
    throw Error(Fault::image, fmt::format("thread {} has registers of another kind of CPU", thread.tid()));
  std::memcpy(&status.pr_reg, thread.registers().data(), sizeof status.pr_reg);
  status.pr_pid = thread.tid(), status.pr_ppid = process.core.ppid();
  status.pr_pgrp = process.core.pgid(), status.pr_sid = process.core.sid();
  if (const auto info = first_pending(thread.facets()); info && is_fault(*info)) {
    status.pr_info = {info->si_signo, info->si_code, info->si_errno};
    status.pr_cursig = static_cast<short>(info->si_signo);
  }
  if (const auto state = facet_of<image::SignalState>(thread.facets())) status.pr_sighold = state->blocked();
  if (const auto signals = facet_of<image::PendingSignals>(thread.facets()))
    for (const std::string& one : signals->siginfo()) {
      int number = 0;
      std::memcpy(&number, one.data(), std::min(one.size(), sizeof number));
      if (number >= 1 && number <= 64) status.pr_sigpend |= 1UL << (number - 1);
    }
  status.pr_fpvalid = 1;
  return note("CORE", NT_PRSTATUS, bytes_of(status));
}

// Where gdb looks for components in the area of a core, whatever CPU it came from: older versions know these places
// only, which are Intel's; newer ones recognise them by size and XCR0. AMX tiles have no place there.
constexpr uint64_t kLegacy = 3, kAvx = 4, kBounds = 0x18, kAvx512 = 0xe0, kKeys = 1 << arch::kPkru;

arch::XstateLayout debugger_layout(uint64_t xcr0) {
  const std::map<unsigned, arch::XstateLayout::Place> places{
      {2, {576, 256}},  {3, {960, 64}},    {4, {1024, 64}},         {5, {1088, 64}},
      {6, {1152, 512}}, {7, {1664, 1024}}, {arch::kPkru, {2688, 8}}};
  arch::XstateLayout layout;
  for (const auto& [id, place] : places)
    if (xcr0 >> id & 1) layout.components.emplace(id, place);
  layout.bytes = xcr0 & kKeys ? 2696 : xcr0 & kAvx512 ? 2688 : xcr0 & kBounds ? 1088 : 832;
  layout.mxcsr_mask = UINT32_MAX;  // nobody loads it
  return layout;
}

std::string extended_notes(const image::ThreadCore& thread, const image::CpuState& cpu) {
  const Step step("thread {}", thread.tid());
  arch::ExtendedState state = facets::extended_state(thread, cpu);
  const uint64_t xcr0 = (cpu.xcr0() & (kAvx | kBounds | kAvx512 | kKeys)) | kLegacy | kAvx;
  const arch::XstateLayout layout = debugger_layout(xcr0);
  std::erase_if(state.components, [&](const auto& one) { return !layout.components.contains(one.first); });
  state.in_use &= xcr0;
  std::vector<std::byte> area = arch::compose_xstate(state, layout, {});
  const std::string fxsave(reinterpret_cast<const char*>(area.data()), kFxsaveBytes);
  std::memcpy(area.data() + kXcr0Offset, &xcr0, sizeof xcr0);
  const std::string all(reinterpret_cast<const char*>(area.data()), area.size());
  return note("CORE", NT_FPREGSET, fxsave) + note("LINUX", NT_X86_XSTATE, all);
}

// ---- the process ----

std::string command_line(const tree::ProcessImage& process, ProcessMemory& memory) {
  elf_prpsinfo limit{};
  const uint64_t start = process.map.arg_start(), end = process.map.arg_end();
  std::string text(std::min<uint64_t>(end > start ? end - start : 0, sizeof limit.pr_psargs - 1), '\0');
  text.resize(memory.read(start, std::as_writable_bytes(std::span(text))));
  std::ranges::replace(text, '\0', ' ');
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

std::string process_note(const tree::ProcessImage& process, ProcessMemory& memory) {
  elf_prpsinfo info{};
  info.pr_sname = process.core.stopped() ? 'T' : 'R';
  info.pr_state = process.core.stopped() ? 3 : 0;  // its place in "RSDTZW", as the kernel counts
  info.pr_pid = process.core.pid(), info.pr_ppid = process.core.ppid();
  info.pr_pgrp = process.core.pgid(), info.pr_sid = process.core.sid();
  const auto& leader = process.threads.front();
  if (const auto credentials = facet_of<image::Credentials>(leader.facets()))
    info.pr_uid = credentials->uid(), info.pr_gid = credentials->gid();
  if (const auto scheduling = facet_of<image::Scheduling>(leader.facets()))
    info.pr_nice = static_cast<char>(scheduling->nice());
  copy_text(info.pr_fname, process.core.command());
  copy_text(info.pr_psargs, command_line(process, memory));
  return note("CORE", NT_PRPSINFO, bytes_of(info));
}

// The count, the unit of offsets, three numbers a mapping; then all names, each with its zero byte.
std::string file_note(const tree::ProcessImage& process, const ProcessMemory& memory) {
  constexpr uint64_t kUnit = 4096;
  std::string numbers, names;
  uint64_t count = 0;
  for (const image::Vma& vma : process.vmas) {
    const std::string name = memory.file_name(vma);
    if (name.empty() || name.find('\0') != std::string::npos) continue;
    ++count;
    numbers += bytes_of(vma.start()) + bytes_of(vma.end()) + bytes_of(vma.offset() / kUnit);
    names += name + '\0';
  }
  return note("CORE", NT_FILE, bytes_of(count) + bytes_of(kUnit) + numbers + names);
}

}  // namespace

std::string core_notes(const SavedTree& tree, const tree::ProcessImage& process, ProcessMemory& memory) {
  const auto threads = threads_in_order(process);
  if (threads.empty()) throw Error(Fault::image, fmt::format("process {} has no thread", process.core.pid()));
  std::string notes = status_note(process, *threads.front()) + process_note(process, memory);
  notes += note("CORE", NT_SIGINFO, bytes_of(shown_signal(process, *threads.front())));
  notes += note("CORE", NT_AUXV, process.map.auxv()) + file_note(process, memory);
  for (const image::ThreadCore* thread : threads) {
    if (thread != threads.front()) notes += status_note(process, *thread);
    notes += extended_notes(*thread, tree.inventory().cpu());
  }
  return notes;
}

}  // namespace mcr::inspect
