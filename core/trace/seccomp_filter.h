// Filters of seccomp(2): classic BPF over struct seccomp_data. Asked here what they would say of a system call, so
// that a program under a filter is only brought into states from which it may find back by itself. Pure; any thread.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mcr::trace {

struct SeccompFilter {
  std::vector<sock_filter> program;
  uint64_t flags = 0;  // SECCOMP_FILTER_FLAG_* as PTRACE_SECCOMP_GET_METADATA tells them
};
// The oldest first, as PTRACE_SECCOMP_GET_FILTER numbers them (ptrace(2) says otherwise;
// tests/workloads/seccomp_filters).
using SeccompChain = std::vector<SeccompFilter>;
bool is_same(const SeccompChain& a, const SeccompChain& b);

// What the kernel accepts (seccomp_check_filter, and bpf_check_classic of net/core/filter.c).
bool is_valid(std::span<const sock_filter> program);
// May return SECCOMP_RET_USER_NOTIF, or a value that only shows when it runs: somebody may be listening.
bool may_notify(std::span<const sock_filter> program);

// The strictest return value of the chain for this call. A filter that looks at the address of the call, or that is no
// valid one, counts as SECCOMP_RET_KILL_PROCESS.
uint32_t verdict(const SeccompChain& chain, long number, const std::array<uint64_t, 6>& args);

enum class SeccompMercy {
  allows,  // the call is made
  fails,   // it returns an error
  harms    // the thread dies, gets a signal, or waits for somebody
};
SeccompMercy mercy(uint32_t verdict);

}  // namespace mcr::trace
