// Text of /proc about control groups, and images whose control groups cannot have been any.
#include <gtest/gtest.h>

#include "core/procfs/cgroups.h"
#include "core/tree/cgroup_files.h"
#include "core/tree/cgroups.h"
#include "tests/unit/images_sample.h"

namespace mcr {
namespace {

using images::sample::error_of;
using images::sample::Folder;
using procfs::CgroupLine;

TEST(Cgroups, LinesOfAProcess) {
  const std::vector<CgroupLine> expected = {
      {"name=systemd", "/user.slice/a:b"}, {"cpu,cpuacct", "/"}, {"", "/user.slice"}};
  EXPECT_EQ(procfs::parse_cgroups("12:name=systemd:/user.slice/a:b\n3:cpu,cpuacct:/\n0::/user.slice\n"), expected);
  EXPECT_TRUE(procfs::parse_cgroups("").empty());
  EXPECT_TRUE(procfs::parse_cgroups("no line of it\n:\n::\n").empty());
  EXPECT_EQ(procfs::parse_cgroups("0::/x").size(), 1u);
}

constexpr char kMounts[] =
    "25 30 0:23 / /sys rw,relatime shared:7 - sysfs sysfs rw\n"
    "31 25 0:27 /inner /mnt/part rw shared:9 - cgroup cgroup rw,memory\n"
    "32 25 0:28 / /sys/fs/cgroup/with\\040blank rw shared:9 - cgroup cgroup rw,memory\n"
    "33 25 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "34 25 0:30 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd\n"
    "35 25 0:31 / /sys/fs/cgroup/unified rw,nosuid shared:2 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(Cgroups, WhereAHierarchyIsMounted) {
  EXPECT_EQ(procfs::find_cgroup_mount(kMounts, "memory"), "/sys/fs/cgroup/with blank");
  EXPECT_EQ(procfs::find_cgroup_mount(kMounts, "cpu,cpuacct"), "/sys/fs/cgroup/cpu");
  EXPECT_EQ(procfs::find_cgroup_mount(kMounts, "name=systemd"), "/sys/fs/cgroup/systemd");
  EXPECT_EQ(procfs::find_cgroup_mount(kMounts, ""), "/sys/fs/cgroup/unified");
  EXPECT_EQ(procfs::find_cgroup_mount(kMounts, "pids"), "");
  EXPECT_EQ(procfs::find_cgroup_mount("", ""), "");
  EXPECT_EQ(procfs::find_cgroup_mount("- - - - - - -\n1 2 3 / x\n", ""), "");
}

TEST(Cgroups, ProgramsThatTheKernelWouldRunAreNeverSet) {
  const auto file = [](const char* name) {
    image::CgroupFile made;
    made.set_name(name);
    return made;
  };
  for (const char* name :
       {"release_agent", "cgroup.kill", "devices.allow", "memory.peak", "cpu.pressure", "", ".", "..", "../x", "a/b"})
    EXPECT_FALSE(tree::is_cgroup_file(file(name))) << name;
  for (const char* name : {"cgroup.procs", "cgroup.threads", "tasks"}) {
    image::CgroupFile members = file(name);
    EXPECT_TRUE(tree::is_cgroup_file(members)) << name;
    members.set_value("1\n");  // would move process 1
    EXPECT_FALSE(tree::is_cgroup_file(members)) << name;
  }
  EXPECT_TRUE(tree::is_cgroup_file(file("pids.max")));
}

struct Sample {
  image::Cgroup group;
  image::CgroupMember member;
  Sample() {
    group.set_id(1), group.set_hierarchy("pids"), group.set_path("/a");
    group.add_files()->set_name("pids.max");
    member.set_pid(7), member.add_cgroups(1);
  }
};

std::string error_with(const std::function<void(Sample&)>& change) {
  Sample sample;
  change(sample);
  const Folder folder;
  {
    images::ImageWriter writer(folder.path("image"), false);
    auto records = writer.records("cgroups.img");
    records.append(sample.group);
    records.append(sample.member);
    records.finish();
    writer.add(records);
    writer.commit({});
  }
  const images::ImageReader reader(folder.path("image"));
  return error_of([&] {
    const tree::RestoredCgroups cgroups(reader, {});
    tree::ProcessImage image;
    image.core.set_pid(7), image.threads.emplace_back().set_tid(7), image.threads.emplace_back().set_tid(8);
    cgroups.require_members({&image, 1});
  });
}

TEST(Cgroups, WhatAnImageCannotSay) {
  EXPECT_EQ(error_with([](Sample&) {}), "");
  EXPECT_EQ(error_with([](Sample& s) { s.member.set_tid(8); }), "");
  const std::vector<std::function<void(Sample&)>> changes = {
      [](Sample& s) { s.group.set_path("/a/../b"); },
      [](Sample& s) { s.group.set_path("a"); },
      [](Sample& s) { s.group.set_path(""); },
      [](Sample& s) { s.group.set_hierarchy("pids/x"); },
      [](Sample& s) { s.group.set_hierarchy(std::string("a\0b", 3)); },
      [](Sample& s) { s.group.set_id(0); },
      [](Sample& s) { s.group.mutable_files(0)->set_name("release_agent"); },
      [](Sample& s) { s.group.mutable_files(0)->set_name("../pids.max"); },
      [](Sample& s) { s.member.set_pid(0); },
      [](Sample& s) { s.member.set_tid(-1); },
      [](Sample& s) { s.member.add_cgroups(2); },
      [](Sample& s) { s.member.set_pid(1); },  // somebody else's, who would be moved
      [](Sample& s) { s.member.set_tid(9); },
  };
  for (size_t i = 0; i < changes.size(); ++i)
    EXPECT_NE(error_with(changes[i]).find("cgroups.img"), std::string::npos) << i << error_with(changes[i]);
}

}  // namespace
}  // namespace mcr
