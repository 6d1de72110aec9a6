// Checkpoints that are handed to a command: one after the other, beside all else.
#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/jobs/checkpoints.h"
#include "core/jobs/supervisor.h"
#include "core/jobs/text.h"
#include "core/sys/child.h"
#include "core/sys/file.h"

namespace mcr::jobs {
namespace {

constexpr size_t kMostSessions = 64;

}  // namespace

// Those that a former supervisor did not come to.
void Supervisor::begin_pushes() {
  if (config_.push().empty()) return;
  for (const StoredCheckpoint& stored : checkpoints_of(job_))
    if (stored.number > state_.pushed()) to_push_.push_back(stored.number);
}

void Supervisor::want_push(uint32_t number) {
  if (!config_.push().empty()) to_push_.push_back(number);
}

void Supervisor::push_failed(uint32_t number, const std::string& reason) {
  state_.set_push_error(as_utf8(fmt::format("checkpoint {} could not be pushed: {}", number, reason)));
  state_.set_push_error_unix_ms(now_unix_ms());
  job_.note(state_.push_error());
}

void Supervisor::serve_push() {
  const bool is_over = push_ && Clock::now() >= push_->deadline();
  const bool is_stuck = is_over && push_->is_late();  // in the kernel, which a file system may do that hangs
  if (is_over && !is_stuck) push_->kill();
  if (push_ && (is_stuck || (sys::poll_now(push_->end(), 1) & 1))) {
    const uint32_t number = push_->number();
    const std::string failure = push_->take_failure();
    push_.reset();
    state_.set_pushed(number);
    if (failure.empty()) {
      state_.clear_push_error(), state_.clear_push_error_unix_ms();
      job_.note(fmt::format("checkpoint {} was pushed", number));
    } else {
      push_failed(number, fmt::format("{} (see {})", failure, job_.file("push.log")));
    }
    save();
  }
  while (!push_ && !to_push_.empty()) {
    const uint32_t number = to_push_.front();
    to_push_.erase(to_push_.begin());
    try {
      if (!sys::try_stat(checkpoint_folder(job_, number))) {
        job_.note(fmt::format("checkpoint {} was removed before it could be pushed", number));
        continue;
      }
      push_.emplace(job_, config_, number);
      push_sessions_.push_back(push_->pid());
      if (push_sessions_.size() > kMostSessions) push_sessions_.erase(push_sessions_.begin());
    } catch (const Error& error) {
      push_failed(number, error.what());
      save();
    }
  }
}

// What the command leaves behind becomes our child and is none of the program's. A session keeps its number while
// somebody is in it; a daemon has one of its own.
bool Supervisor::is_of_push(HostPid pid) const {
  if (push_sessions_.empty()) return false;
  const auto session = sys::try_session_of(pid);
  return (session && std::ranges::find(push_sessions_, HostPid(*session)) != push_sessions_.end()) ||
         was_started_by_push(pid);
}

}  // namespace mcr::jobs
