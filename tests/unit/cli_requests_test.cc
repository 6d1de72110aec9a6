// From settings to what the engine is asked to do.
#include <gtest/gtest.h>

#include <filesystem>

#include "tools/command_line.h"
#include "tools/request.h"
#include "tools/values.h"

namespace mcr::cli {
namespace {

using Words = std::vector<std::string>;

DumpRequest dump_of(Words words) {
  words.insert(words.begin(), "dump");
  return dump_request(parse_command_line(words, {}));
}
RestoreRequest restore_of(Words words) {
  words.insert(words.begin(), "restore");
  return restore_request(parse_command_line(words, {}));
}

template <typename Call>
bool is_usage_error(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.fault() == Fault::usage && std::string(error.what()).find('\n') == std::string::npos;
  }
  return false;
}

TEST(DumpRequest, HasTheDefaultsOfTheEngine) {
  const DumpRequest request = dump_of({"-t", "4711"});
  const engine::DumpOptions fresh;
  EXPECT_EQ(request.options.tree, HostPid(4711));
  EXPECT_EQ(request.options.images_dir, ".");
  EXPECT_EQ(request.options.leave_running, fresh.leave_running);
  EXPECT_EQ(request.options.leave_stopped, fresh.leave_stopped);
  EXPECT_EQ(request.options.sync, fresh.sync);
  EXPECT_EQ(request.options.timeout, fresh.timeout);
  EXPECT_EQ(request.options.validation, fresh.validation);
  EXPECT_EQ(request.options.ghost_limit, fresh.ghost_limit);
  EXPECT_EQ(request.around.log.level, log::Level::warning);
  EXPECT_EQ(request.around.log.file, "");
  EXPECT_EQ(request.around.status_fd, -1);
}

TEST(DumpRequest, TakesEveryOption) {
  const DumpRequest request = dump_of({"-t",
                                       "7",
                                       "-D",
                                       "/img",
                                       "-W",
                                       "/work",
                                       "-o",
                                       "d.log",
                                       "-v4",
                                       "--log-pid",
                                       "-R",
                                       "-j",
                                       "--timeout",
                                       "3",
                                       "--ghost-limit",
                                       "4M",
                                       "--file-validation",
                                       "filesize",
                                       "--no-sync",
                                       "--status-fd",
                                       "9",
                                       "--display-stats",
                                       "--json",
                                       "--action-script",
                                       "/a",
                                       "--action-script",
                                       "b"});
  EXPECT_EQ(request.options.images_dir, "/img");
  EXPECT_TRUE(request.options.leave_running);
  EXPECT_TRUE(request.options.shell_job);
  EXPECT_FALSE(request.options.sync);
  EXPECT_EQ(request.options.timeout.count(), 3000);
  EXPECT_EQ(request.options.ghost_limit, 4u << 20);
  EXPECT_EQ(request.options.validation, engine::FileValidation::filesize);
  EXPECT_EQ(request.around.log.file, "/work/d.log");
  EXPECT_EQ(request.around.log.level, log::Level::debug);
  EXPECT_TRUE(request.around.log.show_pid);
  EXPECT_EQ(request.around.status_fd, 9);
  EXPECT_TRUE(request.around.display_stats);
  EXPECT_TRUE(request.around.json);
  EXPECT_EQ(request.around.action_scripts, (Words{"/a", std::filesystem::absolute("b").string()}));
}

TEST(DumpRequest, ControlGroups) {
  EXPECT_FALSE(dump_of({"-t1"}).options.manage_cgroups);
  EXPECT_FALSE(dump_of({"-t1", "--manage-cgroups=ignore"}).options.manage_cgroups);
  EXPECT_TRUE(dump_of({"-t1", "--manage-cgroups"}).options.manage_cgroups);
  EXPECT_THROW(dump_of({"-t1", "--manage-cgroups=some"}), Error);
  EXPECT_EQ(restore_of({}).options.cgroups.mode, tree::CgroupMode::ignore);
  EXPECT_EQ(restore_of({"--manage-cgroups"}).options.cgroups.mode, tree::CgroupMode::soft);
  const auto request = restore_of({"--manage-cgroups=full", "--cgroup-root", "/a", "--cgroup-root", "cpu,cpuacct:/b"});
  EXPECT_EQ(request.options.cgroups.mode, tree::CgroupMode::full);
  using Roots = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(request.options.cgroups.roots, (Roots{{"", "/a"}, {"cpu,cpuacct", "/b"}}));
  EXPECT_THROW(restore_of({"--cgroup-root", "/a"}), Error);
  for (const char* bad : {"a", "cpu:a", "cpu/a", "/a/..", ""})
    EXPECT_THROW(restore_of({"--manage-cgroups", "--cgroup-root", bad}), Error) << bad;
}

TEST(DumpRequest, LogFollowsTheImageFolderUnlessTold) {
  EXPECT_EQ(dump_of({"-t1", "-D", "/img", "-o", "d.log"}).around.log.file, "/img/d.log");
  EXPECT_EQ(dump_of({"-t1", "-D", "/img", "-o", "/var/d.log"}).around.log.file, "/var/d.log");
  EXPECT_EQ(dump_of({"-t1", "-o", "d.log"}).around.log.file, "d.log");
}

TEST(DumpRequest, RefusesWhatMakesNoSense) {
  EXPECT_TRUE(is_usage_error([] { dump_of({}); }));
  for (const char* pid : {"0", "-4", "abc", "12x", "", "99999999999", " 5", "+5"})
    EXPECT_TRUE(is_usage_error([&] { dump_of({"-t", pid}); })) << pid;
  EXPECT_TRUE(is_usage_error([] { dump_of({"-t", "5", "-R", "-s"}); }));
  EXPECT_FALSE(is_usage_error([] { dump_of({"-t", "5", "-R", "-s", "--no-leave-running"}); }));
  EXPECT_TRUE(is_usage_error([] { dump_of({"-t", "5", "extra"}); }));
  EXPECT_TRUE(is_usage_error([] { dump_of({"-t", "5", "--exec-cmd", "--", "true"}); }));
  EXPECT_TRUE(is_usage_error([] { dump_of({"-t", "5", "--file-validation", "magic"}); }));
  EXPECT_TRUE(is_usage_error([] { dump_of({"-t", "5", "--timeout", "soon"}); }));
  EXPECT_TRUE(is_usage_error([] { dump_of({"-t", "5", "--status-fd", "-1"}); }));
  EXPECT_TRUE(is_usage_error([] { dump_of({"-t", "5", "-vx"}); }));
  EXPECT_TRUE(is_usage_error([] { dump_of({"-t", "5", "-D", ""}); }));
}

TEST(RestoreRequest, TakesEveryOption) {
  const RestoreRequest request = restore_of({"-D", "/img", "-d", "-S", "-j", "-s", "--timeout=2", "--pidfile", "p",
                                             "--file-validation=none", "--redirect-vdso", "-t", "5"});
  EXPECT_EQ(request.options.images_dir, "/img");
  EXPECT_TRUE(request.detached);
  EXPECT_TRUE(request.options.sibling);
  EXPECT_TRUE(request.options.shell_job);
  EXPECT_TRUE(request.options.leave_stopped);
  EXPECT_TRUE(request.options.redirect_vdso);
  EXPECT_EQ(request.options.timeout.count(), 2000);
  EXPECT_EQ(request.options.validation, engine::FileValidation::none);
  EXPECT_EQ(request.pidfile, "/img/p");
  EXPECT_TRUE(request.exec_command.empty());
}

TEST(RestoreRequest, TakesACommandToBecome) {
  EXPECT_EQ(restore_of({"--exec-cmd", "--", "/bin/echo", "-n", "x"}).exec_command, (Words{"/bin/echo", "-n", "x"}));
  EXPECT_EQ(restore_of({"--exec-cmd", "/bin/true"}).exec_command, Words{"/bin/true"});
  EXPECT_TRUE(is_usage_error([] { restore_of({"--exec-cmd"}); }));
  EXPECT_TRUE(is_usage_error([] { restore_of({"-d", "--exec-cmd", "--", "true"}); }));
  EXPECT_TRUE(is_usage_error([] { restore_of({"--", "true"}); }));
}

TEST(RestoreRequest, RefusesASiblingInTheForeground) {
  EXPECT_TRUE(is_usage_error([] { restore_of({"-S"}); }));
  EXPECT_TRUE(is_usage_error([] { restore_of({"-s", "-R"}); }));
}

TEST(Values, CpuDemands) {
  const auto demand = [](const char* text) {
    const auto d = parse_cpu_demand("cpu-cap", text);
    return (d.registers ? 1 : 0) + (d.instructions ? 2 : 0) + (d.exact ? 4 : 0);
  };
  EXPECT_EQ(demand("none"), 0);
  EXPECT_EQ(demand("fpu"), 1);
  EXPECT_EQ(demand("ins"), 2);
  EXPECT_EQ(demand("fpu,ins"), 3);
  EXPECT_EQ(demand("cpu"), 7);
  EXPECT_EQ(demand("all"), 7);
  EXPECT_EQ(demand("+"), 7);
  EXPECT_THROW(parse_cpu_demand("cpu-cap", "sse"), Error);
  EXPECT_THROW(parse_cpu_demand("cpu-cap", "fpu,"), Error);
  EXPECT_THROW(parse_cpu_demand("cpu-cap", ""), Error);
}

TEST(Values, SizesHaveSuffixes) {
  EXPECT_EQ(parse_size("x", "0"), 0u);
  EXPECT_EQ(parse_size("x", "123"), 123u);
  EXPECT_EQ(parse_size("x", "64K"), 64u << 10);
  EXPECT_EQ(parse_size("x", "1m"), 1u << 20);
  EXPECT_EQ(parse_size("x", "3G"), uint64_t{3} << 30);
  for (const char* text : {"", "K", "-1", "1T", "1KB", "1.5M", "99999999999G", "0x10"})
    EXPECT_TRUE(is_usage_error([&] { parse_size("x", text); })) << text;
}

TEST(Values, VerbosityIsFoldedInOrder) {
  EXPECT_EQ(parse_verbosity({}), log::Level::warning);
  EXPECT_EQ(parse_verbosity({"+"}), log::Level::info);
  EXPECT_EQ(parse_verbosity({"v"}), log::Level::debug);
  EXPECT_EQ(parse_verbosity({"vvv"}), log::Level::debug);
  EXPECT_EQ(parse_verbosity({"0"}), log::Level::message);
  EXPECT_EQ(parse_verbosity({"1", "+"}), log::Level::warning);
  EXPECT_EQ(parse_verbosity({"4", "1"}), log::Level::error);
  EXPECT_EQ(parse_verbosity({"9"}), log::Level::debug);
}

}  // namespace
}  // namespace mcr::cli
