#include "core/jobs/push.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include "core/base/error.h"
#include "core/jobs/checkpoints.h"
#include "core/jobs/program.h"
#include "core/sys/child.h"
#include "core/sys/file.h"

namespace mcr::jobs {
namespace {

constexpr char kPlace[] = "{}";
constexpr char kImageVariable[] = "MINI_CRIU_IMAGE=";

// Of an image that lies elsewhere (--into) we have a link, of which a command that copies folders would make a link.
std::string place_of_image(const JobFolder& job, uint32_t number) {
  const std::string folder = checkpoint_folder(job, number);
  return sys::try_read_link(folder).value_or(folder);
}

sys::ProgramPlace place_of(const JobFolder& job, const job::Config& config, uint32_t number, int log) {
  const std::string folder = place_of_image(job, number);
  sys::ProgramPlace place;
  place.command = push_command(config, folder);
  for (const std::string& variable : config.environment())
    if (!variable.starts_with("MINI_CRIU_")) place.environment.push_back(variable);
  place.environment.push_back("MINI_CRIU_JOB=" + config.id());
  place.environment.push_back("MINI_CRIU_JOB_FOLDER=" + job.path());
  place.environment.push_back(std::string(kImageVariable) + folder);
  place.environment.push_back(fmt::format("MINI_CRIU_CHECKPOINT={}", number));
  place.folder = config.folder();
  place.output = log;
  return place;
}

}  // namespace

bool was_started_by_push(HostPid pid) {
  return has_variable(pid, kImageVariable);
}

std::vector<std::string> push_command(const job::Config& config, const std::string& folder) {
  std::vector<std::string> words;
  bool is_named = false;
  for (std::string word : config.push()) {
    for (size_t at = word.find(kPlace); at != std::string::npos; at = word.find(kPlace, at + folder.size())) {
      word.replace(at, sizeof kPlace - 1, folder);
      is_named = true;
    }
    words.push_back(std::move(word));
  }
  if (!is_named) words.push_back(folder);
  return words;
}

Push::Push(const JobFolder& job, const job::Config& config, uint32_t number)
    : number_(number), limit_ms_(config.push_limit_ms()) {
  const UniqueFd log = sys::open(job.file("push.log"), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW, 0600);
  const sys::ProgramPlace place = place_of(job, config, number, log.get());
  const int kept[] = {log.get()};
  pid_ = sys::start_child(kept, [&] {
    try {
      sys::become_session_program(place);
    } catch (const Error& error) {
      sys::write_text(place.output, error.reason() + "\n");
      return 127;
    }
  });
  pidfd_ = sys::open_pidfd(pid_);
  deadline_ = sys::Clock::now() + std::chrono::milliseconds(limit_ms_);
}

void Push::kill() {
  late_ = true;
  deadline_ = sys::Clock::now() + std::chrono::seconds(10);
  // Its group has its number from the moment that it has a session of its own, and until it is collected.
  if (!sys::try_kill_group(pid_, SIGKILL)) sys::try_kill(pid_, SIGKILL);
}

std::string Push::take_failure() {
  const auto end = sys::collect_ended(pid_);
  if (late_) return fmt::format("not done within {} s, and ended", (limit_ms_ + 999) / 1000);
  if (!end) return "it has ended, and how is not known";
  if (end->what == sys::ChildChange::What::killed) return "ended by signal " + sys::signal_name(end->number);
  return end->number ? fmt::format("status {}", end->number) : std::string();
}

}  // namespace mcr::jobs
