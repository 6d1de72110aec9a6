#include <fmt/format.h>

#include "core/base/error.h"
#include "core/jobs/supervisor.h"
#include "tools/attach.h"
#include "tools/commands.h"
#include "tools/job_follow.h"
#include "tools/job_request.h"

namespace mcr::cli {

int run_attach(const CommandLine& line) {
  refuse_foreign_options(line);
  const Step step("attach");
  const jobs::JobFolder job = job_operand(line);
  const std::string keys = detach_keys(line);
  if (!job.config().terminal())
    throw Error(
        Fault::refused, fmt::format("job {} has no terminal", job.id()),
        fmt::format("mini-criu logs -f {} follows what it prints; mini-criu run -t gives a job a terminal", job.id()));
  const job::State state = jobs::settled_state(job);
  if (const auto host = jobs::other_host(state))
    throw Error(Fault::refused, fmt::format("job {} runs on host {}", job.id(), *host), "give the command there");
  job.require_own();
  if (!jobs::wants_supervisor(state) && !job.has_supervisor())
    throw Error(Fault::refused, fmt::format("job {} does not run", job.id()),
                fmt::format("mini-criu resume -f {} goes on with it at its terminal", job.id()));
  return sit_in(job, {keys, -1, {}});
}

}  // namespace mcr::cli
