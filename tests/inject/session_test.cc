// The parasite in a living program, without any checkpoint: what it does there, and that nothing of it stays.
#include "core/inject/session.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/sys/file.h"

namespace mcr {
namespace {

// A child that counts in shared memory, with one more thread that does nothing.
class Victim {
 public:
  Victim() {
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    counter_ = static_cast<volatile uint64_t*>(page);
    pid_ = ::fork();
    if (pid_ == 0) {
      for (;;) {
        *counter_ = *counter_ + 1;
        ::usleep(100);
      }
    }
    ::usleep(20'000);
  }
  ~Victim() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::munmap(const_cast<uint64_t*>(counter_), 4096);
  }
  HostPid pid() const { return HostPid(pid_); }
  std::string maps() const { return sys::read_text(fmt::format("/proc/{}/maps", pid_)); }
  std::vector<std::string> descriptors() const {
    auto names = sys::list_directory(fmt::format("/proc/{}/fd", pid_));
    std::sort(names.begin(), names.end());
    return names;
  }
  bool goes_on() const {
    const uint64_t before = *counter_;
    for (int i = 0; i < 200 && *counter_ == before; ++i) ::usleep(5'000);
    return *counter_ != before && ::waitpid(pid_, nullptr, WNOHANG) == 0;
  }

 private:
  pid_t pid_;
  volatile uint64_t* counter_;
};

std::vector<procfs::Mapping> mappings_of(HostPid pid) {
  return procfs::parse_maps(sys::read_text(fmt::format("/proc/{}/maps", pid)));
}

struct Frozen {
  explicit Frozen(HostPid pid) : tree(pid, sys::Clock::now() + std::chrono::seconds(10), damage) {}
  Damage damage;
  sys::ChildSignal children;
  trace::FrozenTree tree;
  trace::FrozenProcess& process() { return *tree.processes().front(); }
};

class ParasiteTest : public testing::Test {
 protected:
  void SetUp() override {
    if (sys::effective_uid() != 0) GTEST_SKIP() << "needs root: ptrace of a child may be forbidden otherwise";
  }
};

TEST_F(ParasiteTest, ExecutesCallsInTheProgram) {
  const Victim victim;
  Frozen frozen(victim.pid());
  inject::ParasiteSession session(frozen.process(), *frozen.process().threads.front(), mappings_of(victim.pid()),
                                  frozen.damage);
  inject::Batch batch = session.channel().batch();
  const size_t pid = batch.add("getpid", SYS_getpid, {});
  const size_t bad = batch.try_add("close", SYS_close, {12345});
  const RemoteAddr name = batch.reserve(16);
  batch.add("prctl", SYS_prctl, {16 /* PR_GET_NAME */, name.get()});
  session.channel().run(batch);
  EXPECT_EQ(batch.result(pid), victim.pid().get());
  EXPECT_EQ(batch.result(bad), -EBADF);
  EXPECT_NE(batch.get<char>(name), '\0');
}

TEST_F(ParasiteTest, NamesTheCallThatFailed) {
  const Victim victim;
  Frozen frozen(victim.pid());
  inject::ParasiteSession session(frozen.process(), *frozen.process().threads.front(), mappings_of(victim.pid()),
                                  frozen.damage);
  inject::Batch batch = session.channel().batch();
  batch.add("getpid", SYS_getpid, {});
  batch.add("close", SYS_close, {12345});
  const size_t never = batch.add("getpid", SYS_getpid, {});
  try {
    session.channel().run(batch);
    FAIL() << "a failed call went unnoticed";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("close(0x3039"), std::string::npos) << e.what();
    EXPECT_EQ(e.code(), EBADF);
  }
  EXPECT_EQ(batch.result(never), 0) << "the batch went on behind a failed call";
}

TEST_F(ParasiteTest, LeavesNothing) {
  const Victim victim;
  const std::string maps = victim.maps();
  const auto descriptors = victim.descriptors();
  Damage damage;
  {
    Frozen frozen(victim.pid());
    inject::ParasiteSession session(frozen.process(), *frozen.process().threads.front(), mappings_of(victim.pid()),
                                    frozen.damage);
    const sys::Pipe pipe = sys::make_pipe(O_CLOEXEC);
    const int lent = session.channel().lend(pipe.write_end.get());
    inject::Batch batch = session.channel().batch();
    const RemoteAddr text = batch.put_string("hello");
    batch.add("write", SYS_write, {static_cast<uint64_t>(lent), text.get(), 5});
    session.channel().run(batch);
    char answer[5];
    sys::read_exactly(pipe.read_end.get(), answer, sizeof answer);
    EXPECT_EQ(std::string(answer, 5), "hello");
    session.cure();
    EXPECT_FALSE(frozen.damage.any());
  }
  EXPECT_EQ(victim.maps(), maps);
  EXPECT_EQ(victim.descriptors(), descriptors);
  EXPECT_TRUE(victim.goes_on());
}

procfs::Status status_of(HostPid pid) {
  return procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", pid)));
}

// Also where it stops itself on its way, and where what it was lent has to be closed there.
TEST_F(ParasiteTest, LeavesNothingWhenItStopsItself) {
  const Victim victim;
  const std::string maps = victim.maps();
  const auto descriptors = victim.descriptors();
  for (const bool lends : {false, true}) {
    Frozen frozen(victim.pid());
    const procfs::Status status = status_of(victim.pid());
    inject::ParasiteSession session(frozen.process(), *frozen.process().threads.front(), mappings_of(victim.pid()),
                                    frozen.damage, {}, &status);
    if (lends) session.channel().lend(0);
    inject::Batch batch = session.channel().batch();
    const size_t pid = batch.add("getpid", SYS_getpid, {});
    session.channel().run(batch);
    EXPECT_EQ(batch.result(pid), victim.pid().get());
    ::kill(victim.pid().get(), SIGURG);  // of somebody else
    session.cure();
    EXPECT_FALSE(frozen.damage.any());
    EXPECT_EQ(status_of(victim.pid()).sig_pending, 0U);
    EXPECT_EQ(victim.descriptors(), descriptors);
  }
  EXPECT_EQ(victim.maps(), maps);
  EXPECT_TRUE(victim.goes_on());
}

// No room for the parasite: its first call fails, and the thread must not get back to the program by itself.
TEST_F(ParasiteTest, StandsStillWhenItCannotBeMapped) {
  const Victim victim;
  {
    Frozen frozen(victim.pid());
    const procfs::Status status = status_of(victim.pid());
    rlimit old{};
    const rlimit none{4096, RLIM_INFINITY};
    ASSERT_EQ(::prlimit(victim.pid().get(), RLIMIT_AS, &none, &old), 0);
    EXPECT_THROW(inject::ParasiteSession(frozen.process(), *frozen.process().threads.front(), mappings_of(victim.pid()),
                                         frozen.damage, {}, &status),
                 Error);
    EXPECT_EQ(status_of(victim.pid()).state, 't');
    EXPECT_FALSE(frozen.damage.any());
    ASSERT_EQ(::prlimit(victim.pid().get(), RLIMIT_AS, &old, nullptr), 0);
  }
  EXPECT_TRUE(victim.goes_on());
}

// Whoever holds the parasite dies without a word; the program must come out of it by itself.
TEST_F(ParasiteTest, HealsWhenTheEngineIsKilled20Times) {
  const Victim victim;
  const std::string maps = victim.maps();
  const auto descriptors = victim.descriptors();
  for (int round = 0; round < 20; ++round) {
    const pid_t engine = ::fork();
    if (engine == 0) {
      Frozen frozen(victim.pid());
      const procfs::Status status = status_of(victim.pid());
      inject::ParasiteSession session(frozen.process(), *frozen.process().threads.front(), mappings_of(victim.pid()),
                                      frozen.damage, {}, round % 4 < 2 ? &status : nullptr);
      if (round % 2 == 0) session.channel().lend(0);
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ::waitpid(engine, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the engine ended by itself";
    ASSERT_TRUE(victim.goes_on()) << "round " << round;
    for (int i = 0; i < 100 && victim.maps() != maps; ++i) ::usleep(1'000);
    ASSERT_EQ(victim.maps(), maps) << "round " << round;
    ASSERT_EQ(victim.descriptors(), descriptors) << "round " << round;
  }
}

}  // namespace
}  // namespace mcr
