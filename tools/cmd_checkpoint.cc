#include <fmt/format.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/jobs/supervisor.h"
#include "core/jobs/text.h"
#include "tools/commands.h"
#include "tools/job_report.h"
#include "tools/job_request.h"
#include "tools/values.h"

namespace mcr::cli {
namespace {

// Asks the job's supervisor and waits for what comes of it, however long it takes.
job::Outcome ask(const jobs::JobFolder& job, const job::Request& request) {
  const job::State state = jobs::settled_state(job);
  if (const auto host = jobs::other_host(state))
    throw Error(Fault::refused, fmt::format("job {} runs on host {}", job.id(), *host), "give the command there");
  if (!jobs::wants_supervisor(state) && !job.has_supervisor())
    throw Error(Fault::refused, fmt::format("job {} does not run", job.id()),
                fmt::format("mini-criu ps shows how it ended, mini-criu resume {} goes on with it", job.id()));
  auto line = jobs::ControlLine::open(job);
  if (!line || !line->ask(request))
    throw Error(Fault::refused, fmt::format("job {} has just ended", job.id()), "mini-criu ps shows how");
  const auto answer = line->wait({});
  if (!answer)
    throw Error(Fault::system, fmt::format("the supervisor of job {} ended before it could answer", job.id()),
                "give the command again: another one adopts the program");
  return answer->outcome();
}

void tell(const CommandLine& line, const jobs::JobFolder& job, const job::Outcome& outcome) {
  const std::string name(line.command->name);
  if (line.settings.flag("json")) return print(checkpoint_json(name.c_str(), job, outcome) + "\n");
  if (outcome.number()) print(checkpoint_line(job, outcome) + "\n");  // 0: between two attempts of --restart
  if (line.settings.flag("display-stats")) print(checkpoint_figures(outcome) + "\n");
}

// A folder of its own: what stands there may be another checkpoint, of this job or of another.
std::string folder_for_image(const std::string& given) {
  const auto folder = std::filesystem::absolute(given).lexically_normal();
  const std::string path = folder.has_filename() ? folder.string() : folder.parent_path().string();
  if (!std::filesystem::is_directory(folder.has_filename() ? folder.parent_path() : folder.parent_path().parent_path()))
    usage(fmt::format("--into: the folder that {} is to be made in does not exist", path), "make it first");
  std::error_code none;
  if (std::filesystem::exists(path, none) && !std::filesystem::is_empty(path, none))
    throw Error(Fault::refused, fmt::format("{} is not an empty folder", path), "give one that is new, or empty it");
  if (!jobs::is_utf8(path))
    usage(fmt::format("--into: the name {} is no UTF-8 text", jobs::as_utf8(path)), "give another folder");
  return path;
}

int save(const CommandLine& line, const jobs::JobFolder& job, bool stop) {
  job::Request request;
  request.set_what(stop ? job::Request::STOP : job::Request::CHECKPOINT);
  if (const auto folder = line.settings.value("into")) request.set_folder(folder_for_image(*folder));
  if (const auto streams = line.settings.value("stream")) request.set_streams(parse_streams("stream", *streams));
  const job::Outcome outcome = ask(job, request);
  if (!outcome.ok()) throw_outcome(outcome);
  tell(line, job, outcome);
  if (stop && !line.settings.flag("json"))
    print(outcome.number() ? fmt::format("Job {0} is stopped; mini-criu resume {0} goes on with it\n", job.id())
                           : fmt::format("Job {} was waiting to be restarted, and has been ended\n", job.id()));
  return 0;
}

}  // namespace

int run_checkpoint(const CommandLine& line) {
  refuse_foreign_options(line);
  const Step step("checkpoint");
  return save(line, job_operand(line), line.settings.flag("stop"));
}

int run_stop(const CommandLine& line) {
  refuse_foreign_options(line);
  const Step step("stop");
  const jobs::JobFolder job = job_operand(line);
  if (line.settings.flag("checkpoint")) return save(line, job, true);
  job::Request request;
  request.set_what(job::Request::END);
  const job::Outcome outcome = ask(job, request);
  if (!outcome.ok()) throw_outcome(outcome);
  if (line.settings.flag("json")) {
    JsonObject object;
    put_flag(object, "ok", true);
    put(object, "command", "stop");
    put(object, "id", job.id());
    print(json_text(object) + "\n");
  } else {
    print(fmt::format("Job {} has been ended\n", job.id()));
  }
  return 0;
}

}  // namespace mcr::cli
