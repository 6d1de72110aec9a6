#include "core/jobs/job_folder.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <random>
#include <set>

#include "core/base/error.h"
#include "core/jobs/job_file.h"
#include "core/jobs/job_id.h"
#include "core/jobs/text.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/file_system.h"
#include "core/sys/hold.h"
#include "core/sys/place.h"
#include "core/sys/process.h"

namespace mcr::jobs {
namespace {

constexpr char kDraft[] = ".new-";   // of a job that is being made
constexpr char kRemains[] = ".rm-";  // of one that is being removed

std::string random_token() {
  std::random_device source;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", source(), source(), source(), source());
}

// What a file of JSON can hold.
void refuse_odd_bytes(const job::Config& config, const std::string& folder) {
  for (const std::string& word : config.command())
    if (!is_utf8(word))
      throw Error(Fault::refused, fmt::format("a word of the command is no UTF-8 text: {}", as_utf8(word)),
                  "put the command into a script, and run that");
  for (const std::string& path : {config.folder(), folder})
    if (!is_utf8(path))
      throw Error(Fault::refused, fmt::format("the name of the folder {} is no UTF-8 text", as_utf8(path)),
                  "give another folder, or a symbolic link to this one");
}

// One line that goes on with the job, wherever it is called.
void write_resume_script(const JobFolder& draft, const std::string& jobs_folder, const std::string& id) {
  const UniqueFd fd = sys::open(draft.file("resume"), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0700);
  sys::write_text(fd.get(), fmt::format("#!/bin/sh\nexec {} resume --jobs-dir {} {} \"$@\"\n",
                                        for_shell(sys::read_link("/proc/self/exe")), for_shell(jobs_folder), id));
}

}  // namespace

uint64_t now_unix_ms() {
  return sys::clock_ns(CLOCK_REALTIME) / 1'000'000;
}

std::string JobFolder::id() const {
  return std::filesystem::path(path_).filename();
}

job::Config JobFolder::config() const {
  job::Config config;
  read_message(file("config.json"), config);
  return config;
}

job::State JobFolder::state() const {
  job::State state;
  read_message(file("state.json"), state);
  return state;
}

void JobFolder::save(const job::State& state) const {
  write_message(file("state.json"), state);
}
void JobFolder::save(const job::Config& config) const {
  write_message(file("config.json"), config);
}

bool JobFolder::is_own() const {
  const auto status = sys::try_stat(path_, false);
  constexpr mode_t kWrittenByOthers = S_IWGRP | S_IWOTH;
  return status && S_ISDIR(status->st_mode) && status->st_uid == sys::effective_uid() &&
         !(status->st_mode & kWrittenByOthers);
}

void JobFolder::require_own() const {
  if (!is_own())
    throw Error(Fault::refused,
                fmt::format("the folder of the job, {}, is another user's, or others may write to it", path_),
                "ask that user to do it: what the folder says would be done with your rights");
}

bool JobFolder::has_supervisor() const {
  int code = 0;
  const auto fd = sys::probe_open(file("supervisor.lock"), O_RDONLY, code);
  return fd && sys::is_held(fd->get());
}

std::optional<UniqueFd> JobFolder::supervise() const {
  UniqueFd fd = sys::open(file("supervisor.lock"), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!sys::try_hold(fd.get())) return std::nullopt;
  return fd;
}

UniqueFd JobFolder::engine_lock() const {
  return sys::open(file("engine.lock"), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
}

void JobFolder::note(const std::string& text) const noexcept {
  try {
    constexpr off_t kMost = 1 << 20;  // a checkpoint every second is a line every second
    if (const auto log = sys::try_stat(file("execution.log"), false); log && log->st_size > kMost)
      sys::rename_at(AT_FDCWD, file("execution.log"), AT_FDCWD, file("execution.log.old"));
    const UniqueFd fd = sys::open(file("execution.log"), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
    sys::write_text(fd.get(), fmt::format("{:%Y-%m-%d %H:%M:%S} {}\n", fmt::localtime(std::time(nullptr)), text));
  } catch (const std::exception&) {
  }
}

JobsFolder::JobsFolder(std::string path) : path_(std::move(path)) {
  const Step step("the folder of jobs {}", path_);
  for (std::filesystem::path at = path_, made; const auto& part : at) {
    made /= part;
    if (!made.empty() && !sys::try_stat(made)) sys::try_make_directory(made, 0700);
  }
}

std::string JobsFolder::default_path() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state && *state == '/') return std::string(state) + "/mini-criu/jobs";  // a relative one is to be ignored
  const char* home = std::getenv("HOME");
  if (home && *home == '/') return std::string(home) + "/.local/state/mini-criu/jobs";
  throw Error(Fault::usage, "neither HOME nor XDG_STATE_HOME is set", "give the folder of jobs with --jobs-dir");
}

UniqueFd JobsFolder::lock() const {
  UniqueFd fd = sys::open(path_ + "/.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  const auto last = sys::Clock::now() + std::chrono::seconds(10);
  while (!sys::try_hold(fd.get())) {
    if (sys::Clock::now() > last)
      throw Error(Fault::timeout, "another command has been making or removing a job for 10 seconds",
                  "try again when it has ended");
    sys::wait_any_readable({}, 5);
  }
  return fd;
}

std::vector<std::string> JobsFolder::ids() const {
  std::vector<std::string> ids;
  for (const std::string& name : sys::list_directory(path_))
    if (is_job_id(name) && sys::try_stat(path_ + "/" + name + "/config.json")) ids.push_back(name);
  std::ranges::sort(ids);
  return ids;
}

std::optional<JobFolder> JobsFolder::find(const std::string& id) const {
  if (!is_job_id(id) || !sys::try_stat(path_ + "/" + id + "/config.json")) return std::nullopt;
  return JobFolder(path_ + "/" + id);
}

JobFolder JobsFolder::get(const std::string& id) const {
  if (auto job = find(id)) return *std::move(job);
  const auto known = ids();
  if (known.empty())
    throw Error(Fault::refused, fmt::format("there is no job {} in {}", id, path_),
                "there is none at all: start one with mini-criu run, or give its folder with --jobs-dir");
  std::string names;
  for (size_t i = 0; i < known.size() && i < 8; ++i) names += (i ? ", " : "") + known[i];
  throw Error(Fault::refused, fmt::format("there is no job {} in {}", id, path_),
              fmt::format("there {} {}{}", known.size() == 1 ? "is" : "are", names, known.size() > 8 ? ", ..." : ""));
}

// Of commands that were killed. Under the lock, so nobody is making or removing one.
void JobsFolder::clear_remains() const {
  for (const std::string& name : sys::list_directory(path_))
    if (name.starts_with(kDraft) || name.starts_with(kRemains)) {
      std::error_code ignored;
      std::filesystem::remove_all(path_ + "/" + name, ignored);
    }
}

JobsFolder::Made JobsFolder::create(job::Config& config) const {
  refuse_odd_bytes(config, path_);
  const UniqueFd locked = lock();
  clear_remains();
  if (config.id().empty()) {
    const auto known = ids();
    config.set_id(propose_id({config.command().begin(), config.command().end()}, {known.begin(), known.end()}));
  }
  const std::string place = path_ + "/" + config.id();
  if (sys::try_stat(place, false))
    throw Error(Fault::refused, fmt::format("there is a job {} already", config.id()),
                fmt::format("mini-criu resume {0} goes on with it; mini-criu rm {0} removes it; or give another --id",
                            config.id()));
  if (config.token().empty()) config.set_token(random_token());  // one that was brought here keeps its mark
  config.set_created_unix_ms(now_unix_ms());
  const JobFolder draft(path_ + "/" + kDraft + config.id());
  sys::try_make_directory(draft.path(), 0700);
  sys::try_make_directory(draft.checkpoints(), 0700);
  job::State state;
  state.set_status(job::State::STARTING);
  state.set_next_number(1);
  state.mutable_line();
  state.set_changed_unix_ms(now_unix_ms());
  draft.save(config);
  draft.save(state);
  sys::open(draft.output(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  write_resume_script(draft, path_, config.id());
  auto held = draft.supervise();  // nobody else knows the folder yet; the lock is the file's, whatever its name
  sys::rename_at(AT_FDCWD, draft.path(), AT_FDCWD, place);
  sync_folder(path_);
  return {JobFolder(place), *std::move(held)};
}

void JobsFolder::remove(const JobFolder& job, UniqueFd) const {
  const Step step("job {}", job.id());
  const UniqueFd locked = lock();
  const std::string remains = path_ + "/" + kRemains + job.id();
  sys::remove_tree(remains);
  sys::rename_at(AT_FDCWD, job.path(), AT_FDCWD, remains);  // in one step it is no job any more
  sys::remove_tree(remains);
}

}  // namespace mcr::jobs
