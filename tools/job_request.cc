#include "tools/job_request.h"

#include <fmt/format.h>

#include <filesystem>
#include <sstream>

#include "core/jobs/job_id.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "tools/attach.h"
#include "tools/gpu_presence.h"
#include "tools/values.h"

namespace mcr::cli {
namespace {

constexpr unsigned kMostKept = 1'000'000, kMostRestarts = 1'000'000, kMostStatus = 255;
constexpr int kRequeueStatus = 85;
constexpr uint64_t kPushLimitMs = 3'600'000;

std::string start_folder(const Settings& settings) {
  const std::string folder = settings.value("directory").value_or(".");
  const auto absolute = std::filesystem::absolute(folder).lexically_normal();
  const auto status = sys::try_stat(absolute);
  if (!status || !S_ISDIR(status->st_mode))
    usage(fmt::format("--directory: there is no folder {}", folder), "make it, or give another one with -w");
  return absolute;
}

void add_environment(job::Config& config, const Settings& settings) {
  std::vector<std::string> all = sys::own_environment();
  const auto without_name = [&](std::string_view entry) {
    const std::string_view name = entry.substr(0, entry.find('=') + 1);
    std::erase_if(all, [&](const std::string& old) { return old.starts_with(name); });
  };
  for (const char* own : {"MINI_CRIU_JOB=", "MINI_CRIU_TOKEN="}) without_name(own);
  for (const std::string& entry : settings.values("env")) {
    if (entry.find('=') == std::string::npos || entry.starts_with('='))
      usage(fmt::format("--env: \"{}\" is not NAME=VALUE", entry));
    without_name(entry);
    all.push_back(entry);
  }
  for (std::string& entry : all) config.add_environment(std::move(entry));
}

void change_push(const Settings& settings, job::Config& config) {
  if (const auto command = settings.value("push")) {
    config.clear_push();
    std::istringstream words(*command);
    for (std::string word; words >> word;) config.add_push(word);
  }
  if (const auto limit = settings.value("push-timeout")) {
    config.set_push_limit_ms(static_cast<uint64_t>(parse_duration("push-timeout", *limit).count()));
    if (config.push_limit_ms() == 0) usage("--push-timeout: 0 is no time", "give 1s or more");
  } else if (config.push_limit_ms() == 0) {
    config.set_push_limit_ms(kPushLimitMs);
  }
}

}  // namespace

void refuse_foreign_options(const CommandLine& line) {
  for (const Option& option : options())
    if (!(option.commands & line.command->bit) && line.settings.typed(option.name))
      usage(fmt::format("--{} is no option of {}", option.name, line.command->name),
            fmt::format("mini-criu {} --help lists its options; those of the program stand behind its name",
                        line.command->name));
}

jobs::JobsFolder jobs_folder(const CommandLine& line) {
  const auto given = line.settings.value("jobs-dir");
  if (given && given->empty()) usage("--jobs-dir: the name of a folder is empty");
  return jobs::JobsFolder(given ? std::filesystem::absolute(*given).lexically_normal().string()
                                : jobs::JobsFolder::default_path());
}

jobs::JobFolder job_operand(const CommandLine& line) {
  if (line.operands.size() != 1)
    usage(fmt::format("{} takes the id of one job{}", line.command->name,
                      line.operands.empty() ? "" : fmt::format(", but was given {}", line.operands.size())),
          "mini-criu ps lists them");
  return jobs_folder(line).get(line.operands.front());
}

bool change_job(const CommandLine& line, job::Config& config) {
  const Settings& settings = line.settings;
  const std::string before = config.SerializeAsString();
  const auto milliseconds = [&](const char* name) {
    return static_cast<uint64_t>(parse_duration(name, *settings.value(name)).count());
  };
  if (settings.value("every")) config.set_every_ms(milliseconds("every"));
  if (settings.value("after")) config.set_after_ms(milliseconds("after"));
  if (const auto n = settings.value("keep")) config.set_keep(parse_count("keep", *n, kMostKept));
  if (const auto n = settings.value("restart")) config.set_restarts(parse_count("restart", *n, kMostRestarts));
  if (const auto n = settings.value("stream")) config.set_streams(parse_streams("stream", *n));
  if (settings.typed("live")) config.set_live(settings.flag("live"));
  if (settings.typed("rollback-files")) config.set_rollback_files(settings.flag("rollback-files"));
  if (const auto list = settings.value("cpu-cap")) {
    const arch::CpuDemand demand = parse_cpu_demand("cpu-cap", *list);
    config.mutable_cpu()->set_registers(demand.registers);
    config.mutable_cpu()->set_instructions(demand.instructions);
    config.mutable_cpu()->set_exact(demand.exact);
  }
  change_push(settings, config);
  return config.SerializeAsString() != before;
}

std::string detach_keys(const CommandLine& line) {
  return parse_keys("detach-keys", line.settings.value("detach-keys").value_or("ctrl-p,ctrl-q"));
}

void check_job_id(const std::string& id) {
  if (!jobs::is_job_id(id))
    usage(fmt::format("--id: \"{}\" cannot be the id of a job", id),
          "give up to 64 letters, digits, '.', '_' and '-', a letter or digit first");
}

job::Config new_job(const CommandLine& line) {
  const Settings& settings = line.settings;
  if (line.operands.empty() || line.operands.front().empty())
    usage("run needs a command", "put it at the end: mini-criu run -- python3 train.py");
  job::Config config;
  for (const std::string& word : line.operands) config.add_command(word);
  if (const auto id = settings.value("id")) {
    check_job_id(*id);
    config.set_id(*id);
  }
  config.set_folder(start_folder(settings));
  add_environment(config, settings);
  change_job(line, config);
  if (const auto signals = settings.value("on-signal")) {
    if (config.id().empty()) usage("--on-signal needs --id", "it is what the job is known by when it is started again");
    for (const int number : parse_signals("on-signal", *signals)) config.add_on_signal(number);
  }
  config.set_gpu(settings.flag("gpu"));
  if (config.gpu()) require_gpu();
  config.set_terminal(settings.flag("tty"));
  if (config.terminal() && !config.on_signal().empty())
    usage("--tty and --on-signal: a batch job has nobody at its terminal", "leave one of them out");
  for (const char* name : {"grace", "requeue-status"})
    if (settings.value(name) && config.on_signal().empty())
      usage(fmt::format("--{} is about --on-signal, which is not given", name));
  if (const auto grace = settings.value("grace"))
    config.set_grace_ms(static_cast<uint64_t>(parse_duration("grace", *grace).count()));
  const auto status = settings.value("requeue-status");
  config.set_requeue_status(status ? static_cast<int>(parse_count("requeue-status", *status, kMostStatus))
                                   : kRequeueStatus);
  config.set_tcp_established(settings.flag("tcp-established"));
  config.set_tcp_close(settings.flag("tcp-close"));
  config.set_link_remap(settings.flag("link-remap"));
  config.set_skip_in_flight(settings.flag("skip-in-flight"));
  return config;
}

}  // namespace mcr::cli
