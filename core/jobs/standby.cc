#include "core/jobs/standby.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/jobs/checkpoints.h"
#include "core/jobs/job_file.h"
#include "core/jobs/job_id.h"
#include "core/jobs/line.h"
#include "images/store.h"

namespace mcr::jobs {
namespace {

job::Checkpoint details_at(const std::string& image) {
  const images::ImageReader whole(image);  // or Error
  job::Checkpoint details;
  if (!try_read_message(image + "/job.json", details) || details.config().command().empty() || details.number() == 0)
    throw Error(Fault::refused, fmt::format("{} is an image, but not of a job", image),
                fmt::format("mini-criu restore -D {} restores it without one", image));
  if (!is_job_id(details.config().id()) || details.config().folder().empty())
    throw Error(Fault::image, fmt::format("{}/job.json names no job", image), "take the image from its host again");
  return details;
}

}  // namespace

JobsFolder::Made take_in(const JobsFolder& folder, const std::string& image, const std::string& id) {
  const job::Checkpoint details = details_at(image);
  job::Config config = details.config();
  if (!id.empty()) config.set_id(id);
  config.set_brought_from(image);
  config.clear_push();
  JobsFolder::Made made = folder.create(config);
  try {
    take_in_checkpoint(made.job, image, details);
    job::State state = made.job.state();
    state.set_status(job::State::STOPPED);
    state.set_next_number(details.number() + 1);
    append(*state.mutable_line(), details.number());
    made.job.save(state);
  } catch (const std::exception&) {
    folder.remove(made.job, std::move(made.lock));
    throw;
  }
  made.job.note(fmt::format("brought here as checkpoint {} from {}", details.number(), image));
  return made;
}

}  // namespace mcr::jobs
