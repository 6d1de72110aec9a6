// A job that goes on from an image that another host has made and handed on (run --push). Throws Error.
#pragma once

#include <string>

#include "core/jobs/job_folder.h"

namespace mcr::jobs {

// Makes a job of it, stopped at this one checkpoint; the image is copied. id: empty for the one that it had. What it
// hands its own images to is not taken over: that led away from the other host.
JobsFolder::Made take_in(const JobsFolder& folder, const std::string& image, const std::string& id);

}  // namespace mcr::jobs
