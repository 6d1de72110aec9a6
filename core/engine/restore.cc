#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/engine.h"
#include "core/engine/restore_check.h"
#include "core/engine/restore_process.h"

namespace mcr::engine {
namespace {

using sys::Clock;

uint64_t since_us(Clock::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

void call_hook(const Hook& hook, std::string_view action, HostPid root) {
  if (hook) hook(action, root);
}

kinds::Validation validation_of(FileValidation wanted) {
  switch (wanted) {
    case FileValidation::none:
      return kinds::Validation::none;
    case FileValidation::filesize:
      return kinds::Validation::filesize;
    case FileValidation::buildid:
      return kinds::Validation::buildid;
  }
  return kinds::Validation::buildid;
}

}  // namespace

Restored restore(const RestoreOptions& options, Damage& damage) {
  const auto start = Clock::now();
  const Step step("restore");
  const sys::ChildSignal children;
  Restored result;
  const images::ImageReader reader(options.images_dir);
  kinds::OpenedFiles files(reader, {options.shell_job, validation_of(options.validation)});
  std::vector<tree::ProcessImage> images;
  for (const int32_t pid : reader.inventory().pids()) images.push_back(tree::read_process(pid, reader));
  if (images.size() != 1)
    throw Error(Fault::image, fmt::format("an image of {} processes is not known to this version", images.size()));
  std::vector<Problem> problems;
  check_host(reader.inventory(), images, files, options, problems);
  if (!problems.empty())
    throw ProblemList(Fault::refused,
                      fmt::format("{} thing{} in the way of this restore, nothing was created:", problems.size(),
                                  problems.size() == 1 ? " stands" : "s stand"),
                      problems);
  result.statistics.check_us = since_us(start);
  call_hook(options.hook, "pre-restore", HostPid(0));

  RestoreContext context{options, reader, files, result.statistics, damage};
  std::vector<std::unique_ptr<inject::NewProcess>> processes;
  for (const tree::ProcessImage& image : images) processes.push_back(restore_process(image, context));
  call_hook(options.hook, "post-restore", processes.front()->pid());
  files.close_all();
  call_hook(options.hook, "pre-resume", processes.front()->pid());
  for (size_t i = 0; i < processes.size(); ++i) {
    if (images[i].core.stopped() || options.leave_stopped) processes[i]->stop_by_job_control();
    result.statistics.threads += static_cast<uint32_t>(processes[i]->threads().size());
    processes[i]->release();
  }
  result.statistics.processes = static_cast<uint32_t>(processes.size());
  result.root = processes.front()->pid();
  result.pidfd = processes.front()->take_pidfd();
  result.statistics.total_us = since_us(start);
  call_hook(options.hook, "post-resume", result.root);
  return result;
}

}  // namespace mcr::engine
