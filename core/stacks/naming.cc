#include "core/stacks/naming.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>

namespace mcr::stacks {
namespace {

// Codes that the kernel keeps to itself (include/linux/errno.h): the call is made again when the thread goes on.
bool waits_in_call(const sys::Registers& registers) {
  const auto number = static_cast<int64_t>(registers.orig_rax), result = static_cast<int64_t>(registers.rax);
  constexpr int64_t kRestartSys = -512, kRestartNoIntr = -513, kRestartNoHand = -514, kRestartBlock = -516;
  constexpr int64_t kInterrupted = -4;
  return number >= 0 && (result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand ||
                         result == kRestartBlock || result == kInterrupted);
}

// Every part of a name may stand for all before it, so that few letters can make a text of any length.
bool may_explode(const std::string& name) {
  constexpr size_t kMostReferences = 8, kLongest = 2048;
  size_t references = 0;
  for (size_t at = 0; at + 1 < name.size(); ++at) {
    if (name[at] != 'S' && name[at] != 'T') continue;
    const char next = name[at + 1];
    references += next == '_' || (next >= '0' && next <= '9') || (name[at] == 'S' && next >= 'A' && next <= 'Z');
  }
  return name.size() > kLongest || references > kMostReferences;
}

}  // namespace

std::string state_of(const sys::Registers& registers, bool by_job_control) {
  if (by_job_control) return "stopped";
  if (!waits_in_call(registers)) return "running";
  const auto name = system_call_name(registers.orig_rax);
  return name.empty() ? fmt::format("in system call {}", registers.orig_rax) : fmt::format("in {}", name);
}

std::string demangled(const std::string& name) {
  if (!name.starts_with("_Z") || may_explode(name)) return name;
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status),
                                                         &std::free);
  return status == 0 && text ? std::string(text.get()) : name;
}

void name_frames(Modules& modules, const std::vector<Walked>& walks, std::vector<ThreadStack>& threads) {
  std::set<uint64_t> addresses;
  for (const Walked& walked : walks)
    for (const WalkedFrame& frame : walked.frames) addresses.insert(frame.lookup);
  const SymbolsByAddress names = modules.names_of(addresses);
  for (size_t i = 0; i < walks.size() && i < threads.size(); ++i) {
    for (const WalkedFrame& walked : walks[i].frames) {
      Frame frame;
      frame.pc = walked.pc, frame.is_signal = walked.is_signal, frame.is_guessed = walked.is_guessed;
      if (const Module* module = modules.module_at(walked.lookup)) {
        frame.module = module->path;
        frame.module_offset = walked.pc - module->bias;
      }
      if (const auto found = names.find(walked.lookup); found != names.end()) {
        frame.function = demangled(found->second.name);
        frame.offset = walked.pc - found->second.start;
      }
      threads[i].frames.push_back(std::move(frame));
    }
    threads[i].ending = walks[i].ending;
  }
}

}  // namespace mcr::stacks
