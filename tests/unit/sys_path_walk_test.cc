// What is opened by a path that had no symbolic link in it: links of root and of the caller are followed as the kernel
// does it, those of others are refused.
#include "core/sys/path_walk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/place.h"

namespace mcr::sys {
namespace {

constexpr uid_t kStranger = 54321;

class PathWalk : public testing::Test {
 protected:
  PathWalk() {
    char name[] = "/tmp/mcr-path-walk-XXXXXX";
    base_ = std::filesystem::canonical(::mkdtemp(name)).string();
    std::filesystem::create_directories(base_ + "/real/inner");
    std::ofstream(base_ + "/real/inner/file") << "content";
  }
  ~PathWalk() override { std::filesystem::remove_all(base_); }

  void link(const std::string& text, const std::string& name, bool of_stranger = false) const {
    ASSERT_EQ(::symlink(text.c_str(), (base_ + name).c_str()), 0);
    const uid_t owner = of_stranger ? kStranger : ::geteuid();
    ASSERT_EQ(::lchown((base_ + name).c_str(), owner, ::getegid()), 0);
  }
  // Is it what the kernel finds?
  void expect_same(const std::string& name, int flags = O_RDONLY) const {
    const UniqueFd walked = open_path(base_ + name, flags), plain = open(base_ + name, flags);
    EXPECT_EQ(stat_fd(walked.get()).st_ino, stat_fd(plain.get()).st_ino) << name;
    EXPECT_EQ(get_status_flags(walked.get()), get_status_flags(plain.get())) << name;
  }
  int code_of(const std::string& path, int flags = O_RDONLY) const {
    try {
      open_path(path, flags);
    } catch (const Error& error) {
      return error.code();
    }
    return 0;
  }

  std::string base_;
};

TEST_F(PathWalk, WithoutLinks) {
  expect_same("/real/inner/file");
  expect_same("/real/inner/file", O_RDWR | O_APPEND);
  expect_same("/real/inner", O_RDONLY | O_DIRECTORY);
  expect_same("/real/inner", O_PATH);
  expect_same("/real/inner/file", O_PATH | O_NOFOLLOW);
  EXPECT_EQ(code_of(base_ + "/real/none"), ENOENT);
  EXPECT_FALSE(try_open_path(base_ + "/real/inner/file/none", O_PATH));
}

TEST_F(PathWalk, LinksOfTheCaller) {
  link("real", "/relative");
  link(base_ + "/./real//inner/", "/absolute");
  link("../real/inner/../inner/file", "/real/up");
  link("absolute", "/chain");
  link("..", "/real/inner/parent");
  link("/", "/root");
  expect_same("/relative/inner/file");
  expect_same("/absolute/file", O_RDWR);
  expect_same("/real/up");
  expect_same("/chain/file");
  expect_same("/chain/parent/inner/file");
  expect_same("/chain/parent", O_PATH);
  expect_same("/root", O_PATH | O_DIRECTORY);
  expect_same("/root/proc/version");
  expect_same("/chain", O_PATH | O_NOFOLLOW);  // the link itself
  expect_same("/relative/up", O_PATH | O_NOFOLLOW);
}

TEST_F(PathWalk, EndlessAndBrokenLinks) {
  link("two", "/one");
  link("one", "/two");
  link("nothing", "/broken");
  EXPECT_EQ(code_of(base_ + "/one"), ELOOP);
  EXPECT_EQ(code_of(base_ + "/one/file"), ELOOP);
  EXPECT_EQ(code_of(base_ + "/broken"), ENOENT);
  EXPECT_FALSE(try_open_path(base_ + "/broken/file", O_PATH));
  link("real/inner/file", "/file");
  EXPECT_EQ(code_of(base_ + "/file/more"), ENOTDIR);
}

TEST_F(PathWalk, LinksOfOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "it takes root to make them";
  link("real", "/foreign", true);
  link("inner/file", "/real/foreign", true);
  link("foreign", "/own");
  for (const char* name : {"/foreign/inner/file", "/real/foreign", "/own/inner/file", "/own"}) {
    try {
      open_path(base_ + name, O_PATH);
      ADD_FAILURE() << name << " was opened";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::refused);
      EXPECT_NE(error.reason().find(base_), std::string::npos) << error.reason();
      EXPECT_NE(error.reason().find("foreign of user 54321"), std::string::npos) << error.reason();
      EXPECT_FALSE(error.remedy().empty());
    }
  }
  expect_same("/foreign", O_PATH | O_NOFOLLOW);  // the link itself leads nowhere
}

TEST_F(PathWalk, PlacesAreNotFollowed) {
  link("real", "/relative");
  const UniqueFd folder = open_path(base_, O_PATH | O_DIRECTORY);
  int code = 0;
  EXPECT_FALSE(probe_open_in(folder.get(), "relative", O_RDONLY, code));
  EXPECT_EQ(code, ELOOP);
  EXPECT_FALSE(try_make_directory_at(folder.get(), "relative", 0700));
  const UniqueFd file = open(base_ + "/real/inner/file", O_PATH);
  const std::string door = "/proc/self/fd/" + std::to_string(file.get());
  EXPECT_FALSE(try_link_through(door, folder.get(), "relative"));
  EXPECT_TRUE(try_link_through(door, folder.get(), "second"));
  EXPECT_FALSE(try_rename_to_free(folder.get(), "second", folder.get(), "relative"));
  EXPECT_TRUE(try_rename_to_free(folder.get(), "second", folder.get(), "third"));
}

}  // namespace
}  // namespace mcr::sys
