#include "core/trace/seccomp_filter.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <random>

namespace mcr::trace {
namespace {

using Program = std::vector<sock_filter>;

constexpr uint32_t kNumber = offsetof(seccomp_data, nr), kArch = offsetof(seccomp_data, arch);

Program deny(long number, uint32_t action) {
  return {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1), BPF_STMT(BPF_RET | BPF_K, action),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
}

uint32_t ask(const SeccompChain& chain, long number, uint64_t first = 0) {
  return verdict(chain, number, {first, 0, 0, 0, 0, 0});
}

TEST(SeccompFilter, SaysWhatTheFilterSays) {
  const SeccompChain chain{{deny(SYS_mkdir, SECCOMP_RET_ERRNO | EPERM), 0}};
  EXPECT_EQ(ask(chain, SYS_mkdir), static_cast<uint32_t>(SECCOMP_RET_ERRNO | EPERM));
  EXPECT_EQ(ask(chain, SYS_read), static_cast<uint32_t>(SECCOMP_RET_ALLOW));
}

TEST(SeccompFilter, TheStrictestOfAChainCounts) {
  const uint32_t kill_process = 0x80000000;
  for (const auto& [strict, mild] : {std::pair<uint32_t, uint32_t>{kill_process, SECCOMP_RET_KILL_THREAD},
                                     {SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP},
                                     {SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO},
                                     {SECCOMP_RET_ERRNO, 0x7fc00000},
                                     {0x7fc00000, SECCOMP_RET_TRACE},
                                     {SECCOMP_RET_TRACE, SECCOMP_RET_LOG},
                                     {SECCOMP_RET_LOG, SECCOMP_RET_ALLOW}}) {
    EXPECT_EQ(ask({{deny(1, strict), 0}, {deny(1, mild), 0}}, 1), strict);
    EXPECT_EQ(ask({{deny(1, mild), 0}, {deny(1, strict), 0}}, 1), strict);
  }
}

TEST(SeccompFilter, OfEqualActionsTheNewestCounts) {
  EXPECT_EQ(ask({{deny(1, SECCOMP_RET_ERRNO | 1), 0}, {deny(1, SECCOMP_RET_ERRNO | 2), 0}}, 1),
            static_cast<uint32_t>(SECCOMP_RET_ERRNO | 2));
}

TEST(SeccompFilter, Arguments) {
  const uint32_t low = offsetof(seccomp_data, args), high = low + 4;
  const Program program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, high),    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 7, 0, 3),
                        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low),     BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 9, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  EXPECT_EQ(ask({{program, 0}}, 1, uint64_t{7} << 32 | 10), static_cast<uint32_t>(SECCOMP_RET_TRAP));
  EXPECT_EQ(ask({{program, 0}}, 1, uint64_t{7} << 32 | 9), static_cast<uint32_t>(SECCOMP_RET_ALLOW));
  EXPECT_EQ(ask({{program, 0}}, 1, uint64_t{8} << 32 | 10), static_cast<uint32_t>(SECCOMP_RET_ALLOW));
}

TEST(SeccompFilter, WhatLooksAtTheAddressIsNotTrusted) {
  const Program program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, instruction_pointer)),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  EXPECT_EQ(mercy(ask({{program, 0}}, 1)), SeccompMercy::harms);
}

TEST(SeccompFilter, Mercy) {
  EXPECT_EQ(mercy(SECCOMP_RET_ALLOW), SeccompMercy::allows);
  EXPECT_EQ(mercy(SECCOMP_RET_LOG), SeccompMercy::allows);
  EXPECT_EQ(mercy(SECCOMP_RET_ERRNO | 5), SeccompMercy::fails);
  EXPECT_EQ(mercy(SECCOMP_RET_TRACE | 5), SeccompMercy::fails);
  for (const uint32_t harm : {0x80000000u, 0u, uint32_t{SECCOMP_RET_TRAP}, 0x7fc00000u, 0x12340000u})
    EXPECT_EQ(mercy(harm), SeccompMercy::harms) << harm;
}

TEST(SeccompFilter, Listeners) {
  EXPECT_TRUE(may_notify(deny(1, 0x7fc00000)));
  EXPECT_TRUE(may_notify(Program{BPF_STMT(BPF_RET | BPF_A, 0)}));
  EXPECT_FALSE(may_notify(deny(1, SECCOMP_RET_KILL_THREAD)));
}

TEST(SeccompFilter, HostileProgramsAreInvalid) {
  const sock_filter last = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  EXPECT_FALSE(is_valid({}));
  EXPECT_FALSE(is_valid(Program(BPF_MAXINSNS + 1, last)));
  EXPECT_TRUE(is_valid(Program(BPF_MAXINSNS, last)));
  for (const sock_filter bad :
       {sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2),
        sock_filter BPF_STMT(BPF_LD | BPF_MEM, 16), sock_filter BPF_STMT(BPF_ST, 0xffffffff),
        sock_filter BPF_STMT(BPF_JMP | BPF_JA, 1), sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
        sock_filter BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), sock_filter BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32),
        sock_filter BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
        sock_filter BPF_STMT(0xffff, 0)}) {
    EXPECT_FALSE(is_valid(Program{bad, last})) << bad.code;
    EXPECT_EQ(mercy(ask({{{bad, last}, 0}}, 1)), SeccompMercy::harms);
  }
  EXPECT_FALSE(is_valid(Program{BPF_STMT(BPF_LD | BPF_IMM, 1)}));
}

// Random programs: whatever is accepted here is accepted by the kernel, and says what the kernel does.
int kernel_says(const Program& program, bool& accepted) {
  int line[2];
  if (pipe(line) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    sock_fprog filter{static_cast<unsigned short>(program.size()), const_cast<sock_filter*>(program.data())};
    // The verdict shows in the errno of one harmless call; everything else of the child is made before.
    const long got = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
    if (got != 0) _exit(200);
    const long result = syscall(SYS_getppid, 1, 2, 3, 4, 5, 6);
    _exit(result < 0 ? errno : 0);
  }
  close(line[0]), close(line[1]);
  int status = 0;
  waitpid(child, &status, 0);
  accepted = !WIFEXITED(status) || WEXITSTATUS(status) != 200;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(SeccompFilter, AgreesWithTheKernel) {
  std::mt19937 random(20260101);
  const uint16_t codes[] = {BPF_LD | BPF_W | BPF_ABS,
                            BPF_LD | BPF_IMM,
                            BPF_LDX | BPF_IMM,
                            BPF_LD | BPF_MEM,
                            BPF_ST,
                            BPF_STX,
                            BPF_LDX | BPF_MEM,
                            BPF_MISC | BPF_TAX,
                            BPF_MISC | BPF_TXA,
                            BPF_ALU | BPF_ADD | BPF_X,
                            BPF_ALU | BPF_SUB | BPF_K,
                            BPF_ALU | BPF_MUL | BPF_K,
                            BPF_ALU | BPF_DIV | BPF_K,
                            BPF_ALU | BPF_XOR | BPF_X,
                            BPF_ALU | BPF_AND | BPF_K,
                            BPF_ALU | BPF_OR | BPF_X,
                            BPF_ALU | BPF_LSH | BPF_K,
                            BPF_ALU | BPF_RSH | BPF_K,
                            BPF_ALU | BPF_NEG,
                            BPF_JMP | BPF_JA,
                            BPF_JMP | BPF_JEQ | BPF_K,
                            BPF_JMP | BPF_JGT | BPF_X,
                            BPF_JMP | BPF_JGE | BPF_K,
                            BPF_JMP | BPF_JSET | BPF_K,
                            BPF_LD | BPF_W | BPF_LEN,
                            BPF_LDX | BPF_W | BPF_LEN};
  int compared = 0;
  for (int round = 0; round < 400; ++round) {
    // Only getppid comes to what is random; all other calls are allowed.
    Program program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    // A filter must not read memory that it has not written (check_load_and_stores).
    for (unsigned slot = 0; slot < 4; ++slot) program.push_back(BPF_STMT(BPF_ST, slot));
    const unsigned length = 2 + random() % 12;
    for (unsigned i = 0; i < length; ++i) {
      const uint16_t code = codes[random() % std::size(codes)];
      uint32_t k = random() % 4 ? random() % 4 : static_cast<uint32_t>(random());
      if (code == (BPF_LD | BPF_W | BPF_ABS)) k = (random() % 2 ? kArch - 4 : 16) + 4 * (random() % 2);
      program.push_back({code, static_cast<uint8_t>(random() % 3), static_cast<uint8_t>(random() % 3), k});
    }
    // No jump comes past these.
    for (int i = 0; i < 4; ++i) program.push_back(BPF_STMT(BPF_MISC | BPF_TAX, 0));
    program.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x3f));
    program.push_back(BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO));
    program.push_back(BPF_STMT(BPF_RET | BPF_A, 0));
    bool accepted = false;
    const int says = kernel_says(program, accepted);
    ASSERT_EQ(is_valid(program), accepted) << "round " << round;
    if (!accepted) continue;
    const uint32_t here = verdict({{program, 0}}, SYS_getppid, {1, 2, 3, 4, 5, 6});
    ASSERT_EQ(here & 0xffff0000, static_cast<uint32_t>(SECCOMP_RET_ERRNO));
    ASSERT_EQ(static_cast<int>(here & 0xffff), says) << "round " << round;
    ++compared;
  }
  EXPECT_GT(compared, 50);
}

}  // namespace
}  // namespace mcr::trace
