// What is said at the end: JSON, lines, exit codes, help and the documentation.
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/action_scripts.h"
#include "tools/help.h"
#include "tools/json_object.h"
#include "tools/manual.h"
#include "tools/report.h"
#include "tools/run.h"
#include "tools/settings.h"

namespace mcr::cli {
namespace {

JsonObject object_from(const std::string& text) {
  JsonObject object;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(text, &object).ok()) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos);
  return object;
}

Error refusal() {
  const Step dump("dump"), pid("pid 4711"), fd("fd 7");
  return Error(Fault::refused, "a \"strange\" device", "close it");
}

TEST(Report, FailureAsJsonHasItsShape) {
  const auto fields = object_from(failure_json("dump", refusal(), 1)).fields();
  EXPECT_FALSE(fields.at("ok").bool_value());
  EXPECT_EQ(fields.at("command").string_value(), "dump");
  EXPECT_EQ(fields.at("fault").string_value(), "refused");
  EXPECT_EQ(fields.at("object").string_value(), "dump > pid 4711 > fd 7");
  EXPECT_EQ(fields.at("reason").string_value(), "a \"strange\" device");
  EXPECT_EQ(fields.at("remedy").string_value(), "close it");
  EXPECT_EQ(fields.at("trail").list_value().values_size(), 3);
  EXPECT_EQ(fields.at("problems").list_value().values_size(), 0);
  EXPECT_EQ(fields.at("exit_code").number_value(), 1);
}

TEST(Report, ProblemsAreDataInJson) {
  const ProblemList error(Fault::refused, "2 problems", {{"fd 7", "x", "y"}, {"fd 8", "z", ""}});
  const auto fields = object_from(failure_json("restore", error, 1)).fields();
  EXPECT_EQ(fields.at("reason").string_value(), "2 problems");
  const auto& problems = fields.at("problems").list_value();
  ASSERT_EQ(problems.values_size(), 2);
  EXPECT_EQ(problems.values(1).struct_value().fields().at("object").string_value(), "fd 8");
}

TEST(Report, SuccessAsJsonHasTimesAndBytes) {
  image::DumpStatistics figures;
  figures.set_total_us(1500);
  figures.set_image_bytes(4096);
  const auto fields = object_from(dump_json("/img", HostPid(5), figures)).fields();
  EXPECT_TRUE(fields.at("ok").bool_value());
  EXPECT_EQ(fields.at("images_dir").string_value(), "/img");
  EXPECT_EQ(fields.at("pid").number_value(), 5);
  EXPECT_EQ(fields.at("times_ms").struct_value().fields().at("total").number_value(), 1.5);
  EXPECT_EQ(fields.at("bytes").struct_value().fields().at("image").number_value(), 4096);
}

TEST(Report, AStreamHasTheTimeOfItsComing) {
  const engine::RestoreStatistics figures;
  const auto times = [&](uint64_t receive_us) {
    return object_from(restore_json("-", HostPid(5), figures, receive_us)).fields().at("times_ms").struct_value();
  };
  EXPECT_EQ(times(2500).fields().at("receive").number_value(), 2.5);
  EXPECT_FALSE(times(0).fields().contains("receive"));
  EXPECT_NE(restore_figures(figures, 2500).find("stream received"), std::string::npos);
  EXPECT_EQ(restore_figures(figures).find("stream"), std::string::npos);
  EXPECT_EQ(object_from(dump_json("-", HostPid(5), {})).fields().at("images_dir").string_value(), "-");
  EXPECT_EQ(dump_line("-", HostPid(5), {}).find("Saved pid 5 as a stream"), 0u);
}

TEST(Report, TheLineBeginsWithTheCommandOnce) {
  EXPECT_EQ(failure_line("dump", refusal()), "dump > pid 4711 > fd 7: a \"strange\" device; close it");
  EXPECT_EQ(failure_line("restore", Error(Fault::image, "torn")), "restore: torn");
  EXPECT_EQ(failure_line("", Error(Fault::usage, "no command", "help")), "no command; help");
}

TEST(Report, ExitCodesTellHarm) {
  EXPECT_EQ(exit_code_of(Error(Fault::usage, "x"), false), 2);
  EXPECT_EQ(exit_code_of(Error(Fault::refused, "x"), false), 1);
  EXPECT_EQ(exit_code_of(Error(Fault::system, "x"), true), 3);
}

TEST(Run, AWrongCommandLineEndsWithTwo) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  EXPECT_EQ(run({"dump", "--tls", "-t", "5", "--no-default-config"}), 2);
  EXPECT_EQ(run({"dump", "--no-default-config"}), 2);
  EXPECT_EQ(run({"swrk", "3"}), 2);
  EXPECT_EQ(run({"check", "-t", "5", "-D", "x", "--no-default-config"}), 2);
  EXPECT_EQ(run({}), 2);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("mini-criu: --tls is not built yet: encrypted connections between hosts"), std::string::npos)
      << said;
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

TEST(Run, AWrongCommandLineIsJsonWhenAsked) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  EXPECT_EQ(run({"dump", "--json", "--no-default-config"}), 2);
  testing::internal::GetCapturedStderr();
  std::string said = testing::internal::GetCapturedStdout();
  ASSERT_TRUE(said.ends_with('\n'));
  said.pop_back();
  EXPECT_EQ(object_from(said).fields().at("fault").string_value(), "usage");
}

TEST(Help, NamesEveryOption) {
  const std::string help = general_help();
  for (const Option& option : options()) EXPECT_NE(help.find(option.typed_name()), std::string::npos) << option.name;
  EXPECT_NE(command_help(*find_command("dump")).find("--tree"), std::string::npos);
  EXPECT_EQ(command_help(*find_command("restore")).find("--ghost-limit"), std::string::npos);
}

TEST(Help, WrapsAtBlanks) {
  EXPECT_EQ(wrapped("one two three", 8, 2), "one two\n  three");
  EXPECT_EQ(wrapped("onetwothree four", 5, 0), "onetwothree\nfour");
  EXPECT_EQ(wrapped("", 5, 0), "");
}

TEST(Manual, PagesAreSoundRoff) {
  for (const Command& command : commands()) {
    if (!command.bit) continue;
    std::istringstream page(command_page(command));
    for (std::string line; std::getline(page, line);) EXPECT_FALSE(line.starts_with('\'')) << line;
    EXPECT_NE(command_page(command).find(".SH OPTIONS"), std::string::npos);
  }
}

TEST(Documentation, HoldsTheTableOfOptionsAsItIs) {
  const std::string file = MCR_TEST_DIRECTORY "/../docs/cli.md";
  std::ifstream stream(file);
  ASSERT_TRUE(stream) << file;
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  EXPECT_NE(text.find(options_table()), std::string::npos)
      << "put the output of mini-criu generate-options-table there";
}

TEST(ActionScripts, EnvironmentHasBothNames) {
  const auto environment = script_environment("pre-dump", "/img", HostPid(5));
  const std::vector<std::string> expected = {
      "CRTOOLS_SCRIPT_ACTION=pre-dump", "CRTOOLS_IMAGE_DIR=/img", "CRTOOLS_INIT_PID=5",
      "MCR_SCRIPT_ACTION=pre-dump",     "MCR_IMAGE_DIR=/img",     "MCR_INIT_PID=5"};
  EXPECT_EQ(environment, expected);
  EXPECT_EQ(script_environment("pre-restore", "/img", HostPid(0)).size(), 4u);
}

TEST(ActionScripts, AFailingScriptAborts) {
  const auto hook = script_hook({"/bin/true", "/bin/false"}, ".");
  try {
    hook("pre-dump", HostPid(5));
    FAIL() << "not aborted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("/bin/false for pre-dump"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("status 1"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(script_hook({}, "."));
  EXPECT_THROW(script_hook({"/does/not/exist"}, "."), Error);
}

}  // namespace
}  // namespace mcr::cli
