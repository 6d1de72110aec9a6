// What an Error becomes on its way from one process to another.
#pragma once

#include "core/base/error.h"
#include "core/jobs/proto/job.pb.h"

namespace mcr::jobs {

// As UTF-8, whatever bytes the names of files have. Without the steps that are open where it is caught: they are those
// of the command that this process was forked from.
job::Outcome outcome_of(const Error& error);

}  // namespace mcr::jobs
