// The images of a job: folders NNN, or links to folders elsewhere. One that has an inventory is whole (images/store.h);
// nothing else counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/jobs/job_folder.h"

namespace mcr::jobs {

struct StoredCheckpoint {
  uint32_t number = 0;
  std::string folder;
  uint64_t created_unix_ms = 0;
  uint64_t image_bytes = 0;  // of all its files
};

std::string checkpoint_folder(const JobFolder& job, uint32_t number);  // ".../checkpoints/007"
std::vector<StoredCheckpoint> checkpoints_of(const JobFolder& job);    // oldest first; whole ones only
// Whether there is anything that was an image once, be it damaged or out of reach: then nothing is started anew.
bool has_had_checkpoints(const JobFolder& job);
std::optional<job::Checkpoint> details_of(const JobFolder& job, uint32_t number);  // nullopt: they are missing
// Those that --keep N gives up: the oldest, never the last one. 0: none. Pure.
std::vector<uint32_t> superfluous(const std::vector<uint32_t>& numbers, uint32_t keep);

// A folder that is about to become an image: new and empty. elsewhere: not empty, the image goes there, and a symbolic
// link to it stands among the checkpoints; that folder is never removed. Returns where the image goes.
std::string begin_checkpoint(const JobFolder& job, uint32_t number, const std::string& elsewhere = {});
// A copy of an image that has come from another host, as the first checkpoint of a new job.
void take_in_checkpoint(const JobFolder& job, const std::string& image, job::Checkpoint details);
// What has not become an image, and what was being removed when somebody was killed.
void remove_remains(const JobFolder& job);
// First it is no image any more, in one step; then it is removed.
void remove_checkpoint(const JobFolder& job, uint32_t number);

}  // namespace mcr::jobs
