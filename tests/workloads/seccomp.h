// Small seccomp filters: one system call gets an action, all others pass.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <cstddef>

#include "contract.h"

inline long install_filter(long number, uint32_t action, unsigned flags = 0) {
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, action), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program{4, code};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

// errno of a call; 0 when it succeeds.
inline int error_of(long number) {
  return syscall(number, "/", 0, 0) < 0 ? errno : 0;
}

inline int value_in_status(const char* key) {
  const std::string text = workload::read_file("/proc/thread-self/status");
  const size_t at = text.find(std::string("\n") + key + ":");
  return at == std::string::npos ? -1 : atoi(text.c_str() + at + strlen(key) + 2);
}
