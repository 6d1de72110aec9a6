#include "core/engine/seccomp_state.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/log.h"

namespace mcr::engine {
namespace {

struct NeededCall {
  const char* name;
  long number;
  std::array<uint64_t, 6> args;
  bool essential;  // must be made, not only do no harm
};
constexpr uint64_t kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;
// Everything that core/arch/x86_64/cave_code.S and the parasite's loop do, with the arguments that filters look at.
constexpr NeededCall kHostCalls[] = {
    {"mmap", SYS_mmap, {0, 0, PROT_READ | PROT_WRITE, kAnonymous, ~0ULL, 0}, false},
    {"mmap", SYS_mmap, {0, 0, PROT_READ | PROT_EXEC, kAnonymous | MAP_FIXED, ~0ULL, 0}, false},
    {"socketpair", SYS_socketpair, {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0, 0, 0}, false},
    {"recvmsg", SYS_recvmsg, {}, false},
    {"sendto", SYS_sendto, {}, false},
    {"read", SYS_read, {}, true},
    {"close", SYS_close, {}, true},
    {"munmap", SYS_munmap, {}, true},
    {"rt_sigprocmask", SYS_rt_sigprocmask, {SIG_SETMASK, 0, 0, 8, 0, 0}, true},
};
constexpr NeededCall kProbeCalls[] = {
    {"sigaltstack", SYS_sigaltstack, {}, false},
    {"prctl(PR_GET_TID_ADDRESS)", SYS_prctl, {40, 0, 0, 0, 0, 0}, false},
    {"prctl(PR_GET_PDEATHSIG)", SYS_prctl, {PR_GET_PDEATHSIG, 0, 0, 0, 0, 0}, false},
    {"prctl(PR_GET_TSC)", SYS_prctl, {PR_GET_TSC, 0, 0, 0, 0, 0}, false},
    {"prctl(PR_MCE_KILL_GET)", SYS_prctl, {PR_MCE_KILL_GET, 0, 0, 0, 0, 0}, false},
    {"prctl(PR_GET_SECUREBITS)", SYS_prctl, {PR_GET_SECUREBITS, 0, 0, 0, 0, 0}, false},
    {"arch_prctl(ARCH_GET_CPUID)", SYS_arch_prctl, {0x1011, 0, 0, 0, 0, 0}, false},
    {"tgkill", SYS_tgkill, {}, false},
    {"rt_sigprocmask", SYS_rt_sigprocmask, {SIG_SETMASK, 0, 0, 8, 0, 0}, true},
};

// What the processes do that make the copy, and the copy itself, once nobody traces them any more.
constexpr NeededCall kCopyCalls[] = {
    {"clone", SYS_clone, {CLONE_VM | CLONE_FILES, 0, 0, 0, 0, 0}, true},
    {"wait4", SYS_wait4, {}, true},
    {"close_range", SYS_close_range, {0, ~0U, 2, 0, 0, 0}, true},
    {"setsid", SYS_setsid, {}, true},
    {"clone", SYS_clone, {CLONE_FILES, 0, 0, 0, 0, 0}, true},
    {"exit_group", SYS_exit_group, {}, true},
};

const NeededCall* first_obstacle(const trace::SeccompChain& chain, std::span<const NeededCall> calls) {
  const auto found = std::ranges::find_if(calls, [&](const NeededCall& call) {
    const trace::SeccompMercy mercy = trace::mercy(trace::verdict(chain, call.number, call.args));
    return mercy == trace::SeccompMercy::harms || (call.essential && mercy != trace::SeccompMercy::allows);
  });
  return found == calls.end() ? nullptr : &*found;
}

[[noreturn]] void refuse(HostTid tid, const char* call) {
  throw Error(Fault::refused,
              fmt::format("the seccomp filters of thread {} do not allow {}, which it would need to find back to the "
                          "program if mini-criu were killed",
                          tid, call),
              "let the filters allow it, or dump the program before it installs them");
}

trace::SeccompChain chain_of(HostTid tid) {
  trace::SeccompChain chain;
  for (uint64_t number = 0;; ++number) {
    auto program = sys::get_seccomp_filter(tid, number);
    if (!program) return chain;
    if (trace::may_notify(*program))
      throw Error(
          Fault::refused,
          fmt::format("a seccomp filter of thread {} hands system calls to a supervisor (SECCOMP_RET_USER_NOTIF)", tid),
          "the supervisor's listener cannot be saved");
    chain.push_back({std::move(*program), sys::get_seccomp_flags(tid, number)});
  }
}

}  // namespace

std::vector<trace::SeccompChain> seccomp_chains(trace::FrozenProcess& process) {
  std::vector<trace::SeccompChain> chains;
  for (const auto& thread : process.threads) {
    chains.emplace_back();
    chains.back() = chain_of(thread->tid());
    if (chains.back().empty()) continue;
    thread->set_options(thread->options() | sys::kSuspendSeccomp);
    log::debug("dump", "thread {} has {} seccomp filters", thread->tid(), chains.back().size());
  }
  return chains;
}

size_t safe_host(const trace::FrozenProcess& process, const std::vector<trace::SeccompChain>& chains) {
  std::optional<size_t> host;
  for (size_t i = 0; i < chains.size(); ++i) {
    if (!host && !first_obstacle(chains[i], kHostCalls)) host = i;
    if (host == i) continue;
    if (const NeededCall* obstacle = first_obstacle(chains[i], kProbeCalls))
      refuse(process.threads[i]->tid(), obstacle->name);
  }
  if (!host) refuse(process.threads.front()->tid(), first_obstacle(chains.front(), kHostCalls)->name);
  return *host;
}

void refuse_harmful_call(HostTid tid, const trace::SeccompChain& chain, const char* name, long number,
                         const std::array<uint64_t, 6>& args) {
  if (chain.empty() || trace::mercy(trace::verdict(chain, number, args)) != trace::SeccompMercy::harms) return;
  refuse(tid, name);
}

bool allow_copy(const trace::SeccompChain& chain) {
  return first_obstacle(chain, kCopyCalls) == nullptr;
}

google::protobuf::RepeatedPtrField<image::SeccompFilter> filters_message(const trace::SeccompChain& chain) {
  google::protobuf::RepeatedPtrField<image::SeccompFilter> filters;
  for (const trace::SeccompFilter& filter : chain) {
    auto* message = filters.Add();
    message->set_program(filter.program.data(), filter.program.size() * sizeof(sock_filter));
    message->set_flags(filter.flags);
  }
  return filters;
}

}  // namespace mcr::engine
