// A commit that is cut off at any moment leaves the old image or the new one, whole; and what writers leave behind.
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <set>

#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

using sample::error_of;
using sample::Folder;

// Runs `action` in a child and kills it at its `count`th system-call stop: each call is seen twice, before and after.
// True when the child came to its end before that.
bool run_and_kill_at(int count, const std::function<void()>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    try {
      action();
    } catch (const std::exception&) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  for (int stop = 0; stop < count && WIFSTOPPED(status); ++stop) {
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    ::waitpid(child, &status, 0);
  }
  if (!WIFSTOPPED(status)) {
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    return true;
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  return false;
}

std::string host_of_whole_image(const std::string& path) {
  verify(path);
  return ImageReader(path).inventory().host();
}

// The images have different pids, so that each has files that the other lacks, and the same files.img and pages.
void kill_at_every_call(bool sync) {
  bool saw_old = false, saw_new = false;
  for (int count = 1;; ++count) {
    const Folder folder;
    const std::string path = folder.path("image");
    sample::write_image(path, "old", 11);
    const bool ended = run_and_kill_at(count, [&] { sample::write_image(path, "new", 12, sync); });
    std::string host;
    ASSERT_EQ(error_of([&] { host = host_of_whole_image(path); }), "") << "after stop " << count;
    (host == "new" ? saw_new : saw_old) = true;
    // The rename is the commit point. (That an earlier stop was past it says nothing: a run may make more calls.)
    if (std::filesystem::exists(path + "/.commit") || std::filesystem::exists(path + "/core-12.img") || ended) {
      ASSERT_EQ(host, "new") << "after stop " << count;
    } else {
      ASSERT_EQ(host, "old") << "after stop " << count;
    }
    // Whatever it left, the next writer takes up; then only its image is there.
    sample::write_image(path, "next", 13);
    ASSERT_EQ(error_of([&] { host = host_of_whole_image(path); }), "") << "after stop " << count;
    ASSERT_EQ(host, "next");
    const auto entries = sys::list_directory(path);
    ASSERT_EQ(entries.size(), 6u) << "after stop " << count << ": " << testing::PrintToString(entries);
    if (ended) break;
  }
  EXPECT_TRUE(saw_old);
  EXPECT_TRUE(saw_new);
}

TEST(ImageCommit, KilledAtEverySystemCall) {
  kill_at_every_call(false);
}
TEST(ImageCommit, KilledAtEverySystemCallWithSync) {
  kill_at_every_call(true);
}

// A writer was killed half-way through its renames, and so is the one that takes them up. At every system call; where
// each process takes many times as long, at some.
TEST(ImageCommit, KilledWhileTakingUpACommit) {
#ifdef __SANITIZE_ADDRESS__
  constexpr int kStep = 4;
#else
  constexpr int kStep = 1;
#endif
  std::string last;
  for (int first = 1;; ++first) {
    const Folder folder;
    sample::write_image(folder.path(), "old", 11);
    if (run_and_kill_at(first, [&] { sample::write_image(folder.path(), "new", 12); })) break;
    const auto names = sys::list_directory(folder.path());
    const bool is_pending = std::filesystem::exists(folder.path(".commit"));
    const std::string state = testing::PrintToString(std::set<std::string>(names.begin(), names.end()));
    if (!is_pending || state == std::exchange(last, state)) continue;
    for (int second = 1;; second += kStep) {
      const Folder copy;
      std::filesystem::copy(folder.path(), copy.path(), std::filesystem::copy_options::recursive);
      const bool ended = run_and_kill_at(second, [&] { sample::write_image(copy.path(), "next", 13); });
      std::string host;
      ASSERT_EQ(error_of([&] { host = host_of_whole_image(copy.path()); }), "") << first << ", " << second;
      ASSERT_TRUE(host == "new" || host == "next") << host;
      if (ended) break;
    }
  }
  EXPECT_NE(last, "");
}

TEST(ImageCommit, KilledInAFreshFolder) {
  for (int count = 1;; ++count) {
    const Folder folder;
    const bool ended = run_and_kill_at(count, [&] { sample::write_image(folder.path(), "new", 12); });
    const std::string text = error_of([&] { verify(folder.path()); });
    if (!text.empty()) {
      ASSERT_NE(text.find("holds no complete image"), std::string::npos) << text;
    }
    ASSERT_TRUE(!ended || text.empty()) << text;
    if (ended) break;
  }
}

TEST(ImageCommit, ReplacesTheOldImageAndKeepsOtherFiles) {
  const Folder folder;
  sample::write_image(folder.path(), "old", 11);
  sample::write_content(folder.path("dump.log"), "log");
  sample::write_image(folder.path(), "new", 12);
  EXPECT_FALSE(std::filesystem::exists(folder.path("core-11.img")));
  EXPECT_TRUE(std::filesystem::exists(folder.path("core-12.img")));
  EXPECT_TRUE(std::filesystem::exists(folder.path("dump.log")));
  EXPECT_EQ(host_of_whole_image(folder.path()), "new");
}

TEST(ImageCommit, OldImageStaysUntilTheCommit) {
  const Folder folder;
  sample::write_image(folder.path(), "old");
  {
    ImageWriter writer(folder.path(), false);
    sample::write_core(writer, 12, "dog");
    EXPECT_EQ(host_of_whole_image(folder.path()), "old");
  }
  EXPECT_EQ(host_of_whole_image(folder.path()), "old");
  EXPECT_EQ(sys::list_directory(folder.path()).size(), 6u);
}

TEST(ImageCommit, StaleStagingIsRemovedAndALivingOneIsNot) {
  const Folder folder;
  std::filesystem::create_directory(folder.path(".staging-abcdef"));
  sample::write_content(folder.path(".staging-abcdef/core-1.img"), "left by a killed writer");
  ImageWriter first(folder.path(), false);
  EXPECT_FALSE(std::filesystem::exists(folder.path(".staging-abcdef")));
  sample::write_core(first, 1, "first");
  {
    ImageWriter second(folder.path(), false);
    sample::write_core(second, 2, "second");
    second.commit(sample::inventory_of(2, "second"));
    EXPECT_EQ(host_of_whole_image(folder.path()), "second");
  }
  first.commit(sample::inventory_of(1, "first"));
  EXPECT_EQ(host_of_whole_image(folder.path()), "first");
}

TEST(ImageCommit, WritersAtTheSameTimeLeaveOneWholeImage) {
  const Folder folder;
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        for (int round = 0; round < 25; ++round) sample::write_image(folder.path(), "child", 100 + i);
      } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(host_of_whole_image(folder.path()), "child");
  EXPECT_EQ(sys::list_directory(folder.path()).size(), 6u);
}

TEST(ImageCommit, FullFileSystemLeavesNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting a tmpfs needs root";
  const Folder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "a tmpfs cannot be mounted here";
  const std::string text = error_of([&] {
    ImageWriter writer(folder.path("image"), false);
    RecordWriter records = writer.records("core-1.img");
    image::ThreadCore thread;
    thread.set_xstate(std::string(200'000, 'x'));
    records.append(thread);
    records.finish();
  });
  const auto left = sys::list_directory(folder.path());
  ::umount2(folder.path().c_str(), MNT_DETACH);
  EXPECT_NE(text.find("core-1.img"), std::string::npos) << text;
  EXPECT_NE(text.find("ENOSPC"), std::string::npos) << text;
  EXPECT_NE(text.find("free space"), std::string::npos) << text;
  EXPECT_TRUE(left.empty());
}

TEST(ImageCommit, FolderThatCannotBeWritten) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  const Folder folder;  // 0700 and root's
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    const std::string text = error_of([&] { ImageWriter(folder.path(), false); });
    ::_exit(text.find("EACCES") != std::string::npos && text.find("check the permissions") != std::string::npos ? 0
                                                                                                                : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace mcr::images
