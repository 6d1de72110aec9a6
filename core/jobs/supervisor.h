// The process that looks after one job: the parent of its program, the subreaper of what that leaves behind, the one
// that takes checkpoints and waits for the end. It ends with the job. Killed at any moment it takes nothing along: the
// program writes its log itself, and the next command that meets the job starts another supervisor, which adopts it.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "core/engine/options.h"
#include "core/jobs/control.h"
#include "core/jobs/engine_call.h"
#include "core/jobs/job_folder.h"
#include "core/jobs/push.h"
#include "core/sys/supervise.h"

namespace mcr::jobs {

// What it begins with.
struct Task {
  enum class What { start, resume, adopt };
  What what = What::start;
  uint32_t number = 0;  // resume: from this checkpoint
  engine::FileValidation validation = engine::FileValidation::buildid;
};

class Supervisor {
 public:
  // lock: of the job, held. Reads configuration and state.
  Supervisor(JobFolder job, UniqueFd lock);
  // Until the job has ended. `ready` gets an Outcome when the task is done, or has failed. Does not throw for what
  // becomes of the job.
  void run(const Task& task, UniqueFd ready);

 private:
  using Clock = std::chrono::steady_clock;  // never set back
  using Moment = std::optional<Clock::time_point>;
  struct Wanted {
    std::vector<uint64_t> connections;
    bool checkpoint = false, stop = false, end = false, for_requeue = false;
    bool by_clock = false;  // --after
    Moment deadline;        // of a stop that a signal has asked for
    std::string folder;     // for the image
    uint32_t streams = 0;
  };

  // supervisor.cc
  void begin(const Task& task);
  void serve();
  int milliseconds_to_wait() const;
  void take_signals();
  void take_requests();
  void begin_what_is_due();
  void schedule();
  void say_ready(const job::Outcome& outcome);
  void finish();
  void save_or_throw();
  bool save();  // false: it could not be written; tried again later

  // supervisor_program.cc
  job::Outcome start_program();
  job::Outcome start_or_tell();
  void collect_strays();
  bool adopt();
  void adopt_interrupted_resume();
  void watch(HostPid pid, UniqueFd pidfd, bool is_child);
  void look_at_program();
  void program_ended(const std::optional<sys::ChildChange>& change);
  void begin_restart();
  void end_program();
  std::vector<HostPid> strays() const;
  void end_strays();
  void refuse_survivors() const;

  void end_between_attempts();

  // supervisor_push.cc
  void begin_pushes();
  void want_push(uint32_t number);
  void serve_push();
  void push_failed(uint32_t number, const std::string& reason);
  bool is_pushing() const { return push_ || !to_push_.empty(); }
  bool is_of_push(HostPid pid) const;

  // supervisor_checkpoint.cc
  void begin_checkpoint_call();
  void begin_resume(uint32_t number, engine::FileValidation validation);
  void look_at_engine();
  void checkpoint_done(job::Outcome outcome, bool stop);
  void resume_done(job::Outcome outcome);
  void failed(const job::Outcome& outcome, const std::string& what);
  bool program_has_ended() const;
  void note_stopped();
  void discard_torn(uint32_t number);
  void retire_old_checkpoints();
  void answer(std::vector<uint64_t>& connections, const job::Outcome& outcome);

  const JobFolder job_;
  const UniqueFd lock_;
  job::Config config_;
  job::State state_;
  std::optional<ControlServer> control_;
  UniqueFd signals_, ready_;

  UniqueFd program_;  // pidfd; not valid: there is none
  bool is_child_ = false;
  std::optional<EngineCall> engine_;
  job::State::Status before_resume_ = job::State::UNKNOWN;

  Wanted wanted_;                 // not begun yet
  std::vector<uint64_t> served_;  // wait for the engine's call
  std::vector<uint64_t> wait_for_end_;
  bool for_requeue_ = false, by_clock_ = false;  // the call that is under way
  Moment next_checkpoint_, stop_at_, engine_deadline_, restart_at_;
  uint32_t restart_before_ = UINT32_MAX;  // only checkpoints below: the newer ones could not be restored
  std::optional<HostPid> keeper_;         // of the program's terminal, where that is our child
  std::optional<Push> push_;
  std::vector<uint32_t> to_push_;
  std::vector<HostPid> push_sessions_;  // of commands that have run
  bool unsaved_ = false, done_ = false;
  std::string unsaved_why_;
};

// Starts a supervisor as a process of its own and waits until its task is done. lock: of the job; it goes over to it.
job::Outcome launch(const JobFolder& job, UniqueFd lock, const Task& task);

// What every command does first: where a supervisor is missing that there should be, another one is started. Returns
// the state as it is then.
job::State settled_state(const JobFolder& job);
// The same as its supervisor has it, which may be more than it could write down (a full disk).
job::State latest_state(const JobFolder& job);
// Whether a state is one that needs a supervisor.
bool wants_supervisor(const job::State& state);
// The host that a job belongs to which is not ours: its processes cannot be seen from here. nullopt: it is ours, or
// does not run.
std::optional<std::string> other_host(const job::State& state);
// What is known of the former host of a job that is to go on here.
enum class FormerHost { may_run, is_down };
// The lock of a job that does not run. Waits for a supervisor that is about to end. Error(refused) when it runs.
UniqueFd take_resting(const JobFolder& job, FormerHost former = FormerHost::may_run);

}  // namespace mcr::jobs
