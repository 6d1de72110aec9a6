// Where jobs are kept: a folder with one folder a job, and in that
//   config.json  state.json                 what was asked for, how it stands
//   output.log   discarded.log              what the program has printed; what a resume has taken back of it
//   execution.log                           what was done with it
//   checkpoints/NNN                         its images
//   control      supervisor.lock  engine.lock
//   resume                                  a script of one line
//   push.log     taken-back.json            what handing on the last image has said; where discarded.log comes from
// Throws Error unless said otherwise.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/jobs/proto/job.pb.h"

namespace mcr::jobs {

class JobFolder {
 public:
  explicit JobFolder(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  std::string id() const;
  std::string file(const char* name) const { return path_ + "/" + name; }
  std::string output() const { return file("output.log"); }
  std::string checkpoints() const { return file("checkpoints"); }

  // What a folder says is done with the rights of whoever acts on it: only its owner does.
  bool is_own() const;
  void require_own() const;
  job::Config config() const;
  job::State state() const;
  void save(const job::State& state) const;  // crash-safe
  void save(const job::Config& config) const;

  bool has_supervisor() const;                // one holds the lock now
  std::optional<UniqueFd> supervise() const;  // takes the lock; nullopt: somebody has it
  UniqueFd engine_lock() const;               // opened, not taken
  // One line, with the time; never throws: a log that cannot be written stops nothing.
  void note(const std::string& text) const noexcept;

 private:
  std::string path_;
};

class JobsFolder {
 public:
  // Made when it is missing (0700).
  explicit JobsFolder(std::string path);
  // "$XDG_STATE_HOME/mini-criu/jobs", or "~/.local/state/mini-criu/jobs".
  static std::string default_path();
  const std::string& path() const { return path_; }

  std::vector<std::string> ids() const;  // sorted
  std::optional<JobFolder> find(const std::string& id) const;
  JobFolder get(const std::string& id) const;  // Error(refused) that names what there is instead
  struct Made {
    JobFolder job;
    UniqueFd lock;  // of its supervisor: whoever meets the job does not take it for one that has lost its own
  };
  // Error(refused) when the id is taken. An id that is empty is chosen here. Appears whole, or not at all.
  Made create(job::Config& config) const;
  void remove(const JobFolder& job, UniqueFd lock) const;  // lock: of the job

 private:
  UniqueFd lock() const;  // while something is made or removed; waits for up to 10 seconds
  void clear_remains() const;
  std::string path_;
};

uint64_t now_unix_ms();

}  // namespace mcr::jobs
