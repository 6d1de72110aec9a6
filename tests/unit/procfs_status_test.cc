// Parsers of /proc/PID/status and stat: captured text of Linux 6.18, and this process itself.
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "core/base/error.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"

namespace mcr::procfs {
namespace {

constexpr std::string_view kZombie =
    "Name:\tsleep\nState:\tZ (zombie)\nTgid:\t4847\nNgid:\t0\nPid:\t4847\nPPid:\t4806\nTracerPid:\t0\n"
    "Uid:\t0\t1\t2\t3\nGid:\t4\t5\t6\t7\nFDSize:\t0\nGroups:\t4 24 4294967295 \nNStgid:\t4847\t1\nNSpid:\t4847\t12\t1\n"
    "NSpgid:\t4798\nNSsid:\t2957\nKthread:\t0\nThreads:\t1\nSigQ:\t0/96365\nSigPnd:\t0000000000000000\n"
    "ShdPnd:\t0000000000000100\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180004002\n"
    "CapInh:\t0000000000000001\nCapPrm:\t000001fffeffffff\nCapEff:\t000001fffeffffff\nCapBnd:\t000001fffeffffff\n"
    "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
    "Speculation_Store_Bypass:\tthread force mitigated\nSpeculationIndirectBranch:\tconditional "
    "enabled\nvoluntary_ctxt_switches:\t11\n";

std::string with_name(std::string_view name) {
  std::string text(kZombie);
  return text.replace(text.find("sleep"), 5, name);
}

}  // namespace

TEST(ParseStatus, ReadsEveryField) {
  const Status s = parse_status(kZombie);
  EXPECT_EQ(s.name, "sleep");
  EXPECT_EQ(s.state, 'Z');
  EXPECT_EQ(s.tgid, 4847);
  EXPECT_EQ(s.pid, 4847);
  EXPECT_EQ(s.ppid, 4806);
  EXPECT_EQ(s.tracer, 0);
  EXPECT_EQ(s.ns_pid, (std::vector<pid_t>{4847, 12, 1}));
  EXPECT_EQ(s.uid, (std::array<uint32_t, 4>{0, 1, 2, 3}));
  EXPECT_EQ(s.gid, (std::array<uint32_t, 4>{4, 5, 6, 7}));
  EXPECT_EQ(s.groups, (std::vector<uint32_t>{4, 24, 4294967295}));
  EXPECT_EQ(s.threads, 1U);
  EXPECT_EQ(s.sig_pending, 0U);
  EXPECT_EQ(s.shared_pending, 0x100U);
  EXPECT_EQ(s.sig_blocked, UINT64_MAX);
  EXPECT_EQ(s.sig_ignored, 0x1000U);
  EXPECT_EQ(s.sig_caught, 0x180004002U);
  EXPECT_EQ(s.cap_inheritable, 1U);
  EXPECT_EQ(s.cap_effective, 0x1fffeffffffU);
  EXPECT_TRUE(s.no_new_privs);
  EXPECT_EQ(s.seccomp, 2);
  EXPECT_EQ(s.store_bypass, "thread force mitigated");
  EXPECT_EQ(s.indirect_branch, "conditional enabled");
  EXPECT_FALSE(s.thp_enabled.has_value());
  EXPECT_EQ(s.umask, 0U);  // a zombie has none
}

TEST(ParseStatus, NameIsUnescaped) {
  EXPECT_EQ(parse_status(with_name("a) R (b c\\n")).name, "a) R (b c\n");
  EXPECT_EQ(parse_status(with_name("a\\\\nb\\t")).name, "a\\nb\\t");
  EXPECT_EQ(parse_status(with_name("")).name, "");
  EXPECT_EQ(parse_status(with_name(" Uid: ")).name, " Uid: ");
}

TEST(ParseStatus, RefusesMissingAndUnreadableLines) {
  for (const char* key :
       {"Name:", "State:", "Tgid:", "PPid:", "Uid:", "Gid:", "Groups:", "Threads:", "SigBlk:", "CapEff:"}) {
    std::string text(kZombie);
    text[text.find(key)] = 'X';
    EXPECT_THROW(parse_status(text), Error) << key;
  }
  std::string text(kZombie);
  EXPECT_THROW(parse_status(text.replace(text.find("4806"), 4, "48a6")), Error);
  EXPECT_THROW(parse_status(""), Error);
  EXPECT_THROW(parse_status(std::string(kZombie) + "Tgid:\t99999999999\n"), Error);
}

TEST(ParseStatus, AgreesWithThisProcess) {
  const mode_t mask = umask(0137);
  sigset_t blocked, old;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  sigprocmask(SIG_BLOCK, &blocked, &old);
  const Status s = parse_status(sys::read_text("/proc/self/status"));
  sigprocmask(SIG_SETMASK, &old, nullptr);
  umask(mask);
  EXPECT_EQ(s.umask, 0137U);
  EXPECT_NE(s.sig_blocked & 1U << (SIGUSR2 - 1), 0U);
  EXPECT_EQ(s.pid, getpid());
  EXPECT_EQ(s.ns_pid.back(), getpid());
  EXPECT_EQ(s.ppid, getppid());
  EXPECT_EQ(s.uid[0], getuid());
  EXPECT_EQ(s.uid[1], geteuid());
  EXPECT_EQ(s.gid[0], getgid());
  EXPECT_EQ(s.no_new_privs, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
  std::vector<gid_t> groups(static_cast<size_t>(getgroups(0, nullptr)));
  groups.resize(static_cast<size_t>(getgroups(static_cast<int>(groups.size()), groups.data())));
  EXPECT_EQ(s.groups.size(), groups.size());
}

TEST(ParseStat, CommMayHoldBracketsBlanksAndLineFeeds) {
  const Stat s = parse_stat(
      "4585 (a) R (b c\n) S 4582 4581 2957 34816 -1 4194560 3118 6552 13 0 3 1 3 1 20 -5 1 0 164893 18878464 3717 "
      "18446744073709551615 94320577421312 94320577421653 140730882749616 0 0 0 0 16781312 2 0 0 0 17 1 0 0 0 0 0 "
      "94320577433008 94320577433624 94321416740864 140730882754724 140730882754772 140730882754773 140730882756559 "
      "9\n");
  EXPECT_EQ(s.pid, 4585);
  EXPECT_EQ(s.comm, "a) R (b c\n");
  EXPECT_EQ(s.state, 'S');
  EXPECT_EQ(s.ppid, 4582);
  EXPECT_EQ(s.pgrp, 4581);
  EXPECT_EQ(s.session, 2957);
  EXPECT_EQ(s.tty_nr, 34816);
  EXPECT_EQ(s.flags, 4194560U);
  EXPECT_EQ(s.nice, -5);
  EXPECT_EQ(s.start_time, 164893U);
  EXPECT_EQ(s.start_code, 94320577421312U);
  EXPECT_EQ(s.end_code, 94320577421653U);
  EXPECT_EQ(s.start_stack, 140730882749616U);
  EXPECT_EQ(s.start_data, 94320577433008U);
  EXPECT_EQ(s.end_data, 94320577433624U);
  EXPECT_EQ(s.start_brk, 94321416740864U);
  EXPECT_EQ(s.arg_start, 140730882754724U);
  EXPECT_EQ(s.arg_end, 140730882754772U);
  EXPECT_EQ(s.env_start, 140730882754773U);
  EXPECT_EQ(s.env_end, 140730882756559U);
  EXPECT_EQ(s.exit_code, 9);
}

TEST(ParseStat, RefusesWhatItCannotRead) {
  for (const char* text : {"", "1", "1 (", "1 )(", "1 () Z", "1 (x) Z 0 0 0", "x (x) R 0", "1 (x) R 1x 2 3 4"})
    EXPECT_THROW(parse_stat(text), Error) << text;
}

TEST(ParseStat, AgreesWithThisProcess) {
  char old_name[16] = {};
  prctl(PR_GET_NAME, old_name, 0, 0, 0);
  prctl(PR_SET_NAME, "x) Z 1 (\ny", 0, 0, 0);
  const Stat s = parse_stat(sys::read_text("/proc/thread-self/stat"));
  const Status status = parse_status(sys::read_text("/proc/thread-self/status"));
  prctl(PR_SET_NAME, old_name, 0, 0, 0);
  EXPECT_EQ(s.comm, "x) Z 1 (\ny");
  EXPECT_EQ(status.name, s.comm);
  EXPECT_EQ(s.pid, getpid());
  EXPECT_EQ(s.ppid, getppid());
  EXPECT_EQ(s.pgrp, getpgrp());
  EXPECT_EQ(s.session, getsid(0));
  EXPECT_LT(s.start_brk, reinterpret_cast<uint64_t>(sbrk(0)) + 1);
  EXPECT_LT(s.arg_start, s.arg_end);
}

}  // namespace mcr::procfs
