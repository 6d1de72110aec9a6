// From words to settings: order, forms of options, configuration files, refusals.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tools/command_line.h"
#include "tools/config_file.h"
#include "tools/option_table.h"
#include "tools/request.h"
#include "tools/suggestion.h"

namespace mcr::cli {
namespace {

using Words = std::vector<std::string>;

CommandLine parsed(const Words& words, const Words& config_files = {}) {
  return parse_command_line(words, config_files);
}

std::string usage_of(const Words& words, const Words& config_files = {}) {
  try {
    parse_command_line(words, config_files);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::usage);
    return error.what();
  }
  return {};
}

class ConfigFolder {
 public:
  ConfigFolder() {
    char name[] = "/tmp/mini-criu-cli-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~ConfigFolder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text) {
    const std::string file = path_ + "/" + name;
    std::ofstream(file) << text;
    return file;
  }

 private:
  std::string path_;
};

TEST(CommandLine, OptionsStandOnBothSidesOfTheCommand) {
  for (const Words& words : {Words{"dump", "-t", "5", "-j"}, Words{"-t", "5", "-j", "dump"}, Words{"-t5", "dump", "-j"},
                             Words{"--tree=5", "--shell-job", "dump"}, Words{"dump", "--tree", "5", "-j"}}) {
    const CommandLine line = parsed(words);
    EXPECT_EQ(line.command->name, "dump");
    EXPECT_EQ(line.settings.value("tree"), "5");
    EXPECT_TRUE(line.settings.flag("shell-job"));
    EXPECT_TRUE(line.operands.empty());
  }
}

TEST(CommandLine, ABareVerbosityLeavesTheNextWordAlone) {
  for (const Words& words : {Words{"-v", "dump"}, Words{"--verbosity", "dump"}, Words{"-jv", "dump"}}) {
    const CommandLine line = parsed(words);
    EXPECT_EQ(line.command->name, "dump");
    EXPECT_EQ(line.settings.values("verbosity"), Words{"+"});
  }
  EXPECT_EQ(parsed({"dump", "-v4", "-vvv", "-dv3"}).settings.values("verbosity"), (Words{"4", "vv", "3"}));
  EXPECT_TRUE(parsed({"dump", "-Rjv4"}).settings.flag("leave-running"));
}

TEST(CommandLine, AValueMayLookLikeAnOption) {
  EXPECT_EQ(parsed({"dump", "-t", "-5"}).settings.value("tree"), "-5");
  EXPECT_EQ(parsed({"dump", "-o", "-v"}).settings.value("log-file"), "-v");
}

TEST(CommandLine, EveryFlagHasItsNoForm) {
  for (const Option& option : options()) {
    if (option.takes != Takes::nothing || option.name == "help" || option.name == "version") continue;
    const std::string yes = "--" + std::string(option.typed_name()), no = "--no-" + std::string(option.typed_name());
    const std::string command = option.typed.empty() ? "dump" : "show";
    EXPECT_FALSE(parsed({command, yes, no}).settings.flag(option.name)) << yes;
    EXPECT_FALSE(parsed({command, no}).settings.flag(option.name)) << no;
    if (option.state != State::refused) {
      EXPECT_TRUE(parsed({command, no, yes}).settings.flag(option.name)) << no;
    }
    EXPECT_EQ(parsed({command}).settings.flag(option.name), option.starts_on) << yes;
  }
}

// Several commands may have options that are typed alike and are not the same.
TEST(CommandLine, AnOptionIsThatOfItsCommand) {
  const CommandLine shown = parsed({"show", "--tree", "images"});
  EXPECT_TRUE(shown.settings.flag("show-tree"));
  EXPECT_EQ(shown.operands, Words{"images"});
  EXPECT_EQ(shown.settings.value("tree"), std::nullopt);
  EXPECT_EQ(parsed({"-v4", "dump", "--tree", "5"}).settings.value("tree"), "5");
  EXPECT_EQ(parsed({"export", "images", "-o", "x.tar"}).settings.value("output"), "x.tar");
  EXPECT_EQ(parsed({"export", "images", "-ox.tar"}).settings.value("log-file"), std::nullopt);
  EXPECT_EQ(parsed({"restore", "-o", "x.log"}).settings.value("log-file"), "x.log");
  EXPECT_EQ(parsed({"help", "show", "--tree"}).command->name, "show");
}

TEST(CommandLine, EveryUnbuiltOptionIsRefusedByName) {
  size_t refused = 0;
  for (const Option& option : options()) {
    if (option.state != State::refused) continue;
    const std::string name = "--" + std::string(option.name);
    Words words = {"restore", name};
    if (option.takes == Takes::value) words.emplace_back("some:thing");
    EXPECT_NE(usage_of(words).find(name + " is not built yet"), std::string::npos) << usage_of(words);
    if (option.letter) {
      words[1] = std::string("-") + option.letter;
      EXPECT_NE(usage_of(words).find(name + " is not built yet"), std::string::npos) << usage_of(words);
    }
    ++refused;
  }
  EXPECT_GE(refused, 30u);
}

TEST(CommandLine, SeveralUnbuiltOptionsAreNamedAtOnce) {
  const std::string text = usage_of({"dump", "--force-irmap", "--tls"});
  EXPECT_NE(text.find("--force-irmap"), std::string::npos);
  EXPECT_NE(text.find("--tls"), std::string::npos);
}

TEST(CommandLine, WhatIsAskedForAnywayIsAccepted) {
  EXPECT_EQ(usage_of({"dump", "--manage-cgroups=ignore", "--network-lock", "skip", "-L", "/lib", "--ghost-fiemap"}),
            "");
  for (const char* method : {"iptables", "", "nft"})
    EXPECT_THROW(dump_request(parse_command_line({"dump", "-t", "1", "--network-lock", method}, {})), Error) << method;
}

TEST(CommandLine, EveryOptionOfTheCompatibilityListIsKnown) {
  for (const char* name : {"tree",
                           "images-dir",
                           "work-dir",
                           "log-file",
                           "verbosity",
                           "log-pid",
                           "libdir",
                           "pidfile",
                           "status-fd",
                           "timeout",
                           "display-stats",
                           "config",
                           "leave-running",
                           "leave-stopped",
                           "restore-detached",
                           "restore-sibling",
                           "exec-cmd",
                           "action-script",
                           "freeze-cgroup",
                           "cpu-cap",
                           "shell-job",
                           "file-locks",
                           "link-remap",
                           "ghost-limit",
                           "ghost-fiemap",
                           "force-irmap",
                           "irmap-scan-path",
                           "inherit-fd",
                           "external",
                           "ext-unix-sk",
                           "ext-mount-map",
                           "enable-external-sharing",
                           "enable-external-masters",
                           "skip-mnt",
                           "enable-fs",
                           "tcp-established",
                           "tcp-close",
                           "skip-in-flight",
                           "network-lock",
                           "empty-ns",
                           "veth-pair",
                           "join-ns",
                           "manage-cgroups",
                           "cgroup-root",
                           "cgroup-props",
                           "cgroup-yard",
                           "lsm-profile",
                           "lsm-mount-context",
                           "root",
                           "auto-dedup",
                           "pre-dump-mode",
                           "page-server",
                           "address",
                           "port",
                           "ps-socket",
                           "lazy-pages",
                           "stream",
                           "file-validation",
                           "skip-file-rwx-check",
                           "allow-uprobes",
                           "unprivileged",
                           "feature"})
    EXPECT_NE(find_option(std::string_view(name)), nullptr) << name;
  const std::pair<char, const char*> letters[] = {
      {'t', "tree"},          {'D', "images-dir"},       {'W', "work-dir"},
      {'o', "log-file"},      {'L', "libdir"},           {'R', "leave-running"},
      {'s', "leave-stopped"}, {'d', "restore-detached"}, {'S', "restore-sibling"},
      {'j', "shell-job"},     {'l', "file-locks"},       {'x', "ext-unix-sk"},
      {'M', "ext-mount-map"}, {'J', "join-ns"},          {'r', "root"},
      {'v', "verbosity"}};
  for (const auto& [letter, name] : letters) {
    ASSERT_NE(find_option(letter), nullptr) << letter;
    EXPECT_EQ(find_option(letter)->name, name);
  }
}

TEST(CommandLine, UnbuiltAndUnknownCommandsAreRefused) {
  for (const Command& command : commands()) {
    if (command.bit) continue;
    EXPECT_NE(usage_of({std::string(command.name), "3"}).find("is not built yet"), std::string::npos) << command.name;
  }
  EXPECT_NE(usage_of({"dmup"}).find("did you mean dump?"), std::string::npos);
  EXPECT_NE(usage_of({}).find("no command"), std::string::npos);
}

TEST(CommandLine, UnknownOptionsGetAHint) {
  EXPECT_NE(usage_of({"dump", "--leave-runing"}).find("did you mean --leave-running?"), std::string::npos);
  EXPECT_NE(usage_of({"dump", "--image-dir=x"}).find("did you mean --images-dir?"), std::string::npos);
  EXPECT_NE(usage_of({"dump", "--leave-run"}).find("did you mean --leave-running?"), std::string::npos);
  EXPECT_EQ(usage_of({"dump", "--qqqqqqqqqqqq"}).find("did you mean"), std::string::npos);
  EXPECT_NE(usage_of({"dump", "-q"}), "");
}

TEST(CommandLine, MissingAndUnwantedValuesAreRefused) {
  EXPECT_NE(usage_of({"dump", "-t"}).find("--tree"), std::string::npos);
  EXPECT_NE(usage_of({"dump", "--tree="}).find("--tree"), std::string::npos);
  EXPECT_NE(usage_of({"dump", "--shell-job=perhaps"}).find("--shell-job"), std::string::npos);
}

TEST(CommandLine, WordsBehindTwoDashesAreOperands) {
  const CommandLine line = parsed({"restore", "--exec-cmd", "--", "/bin/echo", "-v", "--", "x"});
  EXPECT_TRUE(line.settings.flag("exec-cmd"));
  EXPECT_EQ(line.operands, (Words{"/bin/echo", "-v", "--", "x"}));
}

TEST(CommandLine, HelpIsFoundEverywhere) {
  for (const Words& words : {Words{"help", "dump"}, Words{"dump", "--help"}, Words{"-h", "dump"}}) {
    const CommandLine line = parsed(words);
    EXPECT_TRUE(line.wants_help);
    EXPECT_EQ(line.command->name, "dump");
  }
  EXPECT_TRUE(parsed({"--help"}).wants_help);
  EXPECT_TRUE(parsed({"-V"}).wants_version);
}

TEST(ConfigFile, UnderstandsItsForms) {
  const auto lines =
      parse_config("# all\n\nleave-running\n log-file = \"a b.log\" # name\ntree 5\nwork-dir=/x#y\r\n", "f");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].argument, "--leave-running");
  EXPECT_EQ(lines[0].origin, "f:3");
  EXPECT_EQ(lines[1].argument, "--log-file=a b.log");
  EXPECT_EQ(lines[2].argument, "--tree=5");
  EXPECT_EQ(lines[3].argument, "--work-dir=/x#y");
  EXPECT_THROW(parse_config("--tree 5", "f"), Error);
  EXPECT_THROW(parse_config("config other", "f"), Error);
}

TEST(ConfigFile, LaterFilesAndTheCommandLineCountMore) {
  ConfigFolder folder;
  const std::string global = folder.write("global", "leave-running\nlog-file a\ntimeout 1\nverbosity 1\n");
  const std::string user = folder.write("user", "log-file b\ntimeout 2\n");
  const CommandLine line = parsed({"dump", "--timeout", "3", "--no-leave-running", "-v"}, {global, user});
  EXPECT_EQ(line.settings.value("log-file"), "b");
  EXPECT_EQ(line.settings.value("timeout"), "3");
  EXPECT_FALSE(line.settings.flag("leave-running"));
  EXPECT_EQ(line.settings.values("verbosity"), (Words{"1", "+"}));
  EXPECT_TRUE(line.settings.typed("timeout"));
  EXPECT_FALSE(line.settings.typed("log-file"));
}

TEST(CommandLine, OfRunEndsWhereItsCommandBegins) {
  for (const Words& words : {Words{"run", "-f", "--id", "a", "python3", "-c", "x", "--keep", "5"},
                             Words{"run", "-f", "--id=a", "--", "python3", "-c", "x", "--keep", "5"}}) {
    const CommandLine line = parsed(words, {});
    EXPECT_EQ(line.operands, (Words{"python3", "-c", "x", "--keep", "5"}));
    EXPECT_EQ(line.settings.value("id"), "a");
    EXPECT_EQ(line.settings.value("keep"), std::nullopt);
    EXPECT_TRUE(line.settings.flag("follow"));
  }
  EXPECT_EQ(parsed({"run", "a", "--", "-b"}, {}).operands, (Words{"a", "--", "-b"}));
  EXPECT_NE(usage_of({"run", "--no-such", "a"}).find("unknown option --no-such"), std::string::npos);
}

TEST(ConfigFile, CanBeReplacedAndSwitchedOff) {
  ConfigFolder folder;
  const std::string global = folder.write("global", "log-file a\nleave-running\n");
  const std::string own = folder.write("own", "log-file c\n");
  EXPECT_EQ(parsed({"dump", "--no-default-config"}, {global}).settings.value("log-file"), std::nullopt);
  const CommandLine line = parsed({"dump", "--config", own}, {global});
  EXPECT_EQ(line.settings.value("log-file"), "c");
  EXPECT_FALSE(line.settings.flag("leave-running"));
  EXPECT_NE(usage_of({"dump", "--config", own + ".missing"}).find("cannot be read"), std::string::npos);
  EXPECT_EQ(usage_of({"dump"}, {own + ".missing"}), "");
}

TEST(ConfigFile, MistakesNameFileAndLine) {
  ConfigFolder folder;
  const std::string unknown = folder.write("unknown", "\nleave-runing\n");
  EXPECT_NE(usage_of({"dump"}, {unknown}).find(unknown + ":2: unknown option leave-runing"), std::string::npos);
  const std::string refused = folder.write("refused", "tls\n");
  EXPECT_NE(usage_of({"dump"}, {refused}).find(refused + ":1"), std::string::npos);
  EXPECT_EQ(usage_of({"dump", "--no-tls"}, {refused}), "");
  const std::string bare = folder.write("bare", "tree\n");
  EXPECT_NE(usage_of({"dump"}, {bare}).find(bare + ":1"), std::string::npos);
}

TEST(Suggestion, TakesTheNearestAndNothingFar) {
  EXPECT_EQ(nearest("dmp", {"restore", "dump"}), "dump");
  EXPECT_EQ(nearest("xyzzy", {"restore", "dump"}), "");
}

}  // namespace
}  // namespace mcr::cli
