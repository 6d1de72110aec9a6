#include "core/jobs/engine_call.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <set>

#include "core/base/log.h"
#include "core/engine/engine.h"
#include "core/jobs/checkpoints.h"
#include "core/jobs/job_file.h"
#include "core/jobs/outcome.h"
#include "core/jobs/output_log.h"
#include "core/jobs/terminal.h"
#include "core/jobs/written_files.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/hold.h"
#include "core/sys/process.h"
#include "images/proto/files.pb.h"
#include "images/store.h"

namespace mcr::jobs {
namespace {

using sys::Clock;

uint64_t microseconds_since(Clock::time_point from) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - from).count());
}

void open_log(const std::string& file) {
  log::Settings settings;
  settings.level = log::Level::info;
  settings.file = file;
  settings.descriptor = sys::open(file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600).release();
  log::start(settings);
}

engine::DumpOptions dump_options(const job::Config& config, HostPid root, const std::string& folder, bool stop) {
  engine::DumpOptions options;
  options.tree = root;
  options.images_dir = folder;
  options.leave_running = !stop;
  options.live = config.live() && !stop;
  options.streams = config.streams();
  options.file_locks = true;
  options.link_remap = config.link_remap();
  options.tcp_established = config.tcp_established();
  options.tcp_close = config.tcp_close();
  options.skip_in_flight = config.skip_in_flight();
  return options;
}

// The image is whole before this is on the disk: one without it is resumed without taking output back.
job::Outcome dump_here(const JobFolder& job, const job::Config& config, const EngineCall::Dump& what,
                       const std::string& folder) {
  open_log(folder + "/dump.log");
  engine::DumpOptions options = dump_options(config, what.root, folder, what.stop);
  job::Checkpoint checkpoint;
  job::Outcome outcome;
  std::optional<BorrowedMaster> terminal;
  if (config.terminal()) options.outside_masters = {terminal.emplace(job).get()};
  options.while_frozen = [&](const std::vector<HostPid>& pids) {
    const auto start = Clock::now();
    checkpoint.set_number(what.number);
    *checkpoint.mutable_line() = what.line;
    *checkpoint.mutable_config() = config;
    checkpoint.set_output(job.output());
    checkpoint.set_created_unix_ms(now_unix_ms());
    if (const auto output = sys::try_stat(job.output()))
      checkpoint.set_output_bytes(static_cast<uint64_t>(output->st_size));
    if (config.rollback_files())
      for (job::SavedFile& file : save_written_files(pids, folder + "/files", {job.output()})) {
        outcome.set_file_bytes(outcome.file_bytes() + file.bytes());
        *checkpoint.add_files() = std::move(file);
      }
    write_message(folder + "/job.json", checkpoint, false);
    if (terminal) terminal->give_back();  // all that waits in it has been read
    outcome.set_files_us(microseconds_since(start));
  };
  Damage damage;
  const image::DumpStatistics figures = engine::dump(options, damage);
  write_message(folder + "/job.json", checkpoint);
  sync_saved({checkpoint.files().begin(), checkpoint.files().end()}, folder + "/files");
  outcome.set_image_bytes(figures.image_bytes());
  outcome.set_look_us(figures.look_us());
  outcome.set_freeze_us(figures.freeze_us());
  outcome.set_frozen_us(figures.frozen_us());
  outcome.set_memory_us(figures.memory_us());
  outcome.set_commit_us(figures.commit_us());
  outcome.set_total_us(figures.total_us());
  outcome.set_gpu_us(figures.gpu_lock_us() + figures.gpu_save_us() + figures.gpu_back_us());
  if (!what.elsewhere.empty()) outcome.set_folder(folder);
  outcome.set_damage(damage.any());
  return outcome;
}

bool has_open_file(const std::string& image, const std::string& path) {
  const images::ImageReader reader(image);
  images::RecordReader records = reader.records("files.img");
  while (const auto type = records.next_type()) {
    image::RegularFile file;
    if (!records.at<image::FileObject>())
      records.read_any();
    else if (records.read<image::FileObject>().body().UnpackTo(&file) && file.path() == path)
      return true;
  }
  return false;
}

// The log lies elsewhere than where the program has opened it: another host's image, or a folder that was moved.
void hand_over_log(const JobFolder& job, const job::Checkpoint& checkpoint, engine::RestoreOptions& options) {
  const std::string& old_path = checkpoint.output();
  if (old_path.empty() || old_path == job.output() || !has_open_file(options.images_dir, old_path)) return;
  options.inherited.emplace(old_path, open_output(job).release());
}

job::Outcome restore_here(const JobFolder& job, const job::Config& config, uint32_t number,
                          engine::FileValidation validation) {
  const std::string folder = checkpoint_folder(job, number);
  open_log(job.file("restore.log"));
  if (config.terminal()) wait_for_former_keeper(job);
  const auto checkpoint = details_of(job, number);
  std::optional<FilesPutBack> files;
  std::optional<OutputTakenBack> output;
  if (checkpoint) {
    files.emplace(std::vector(checkpoint->files().begin(), checkpoint->files().end()), folder + "/files",
                  job.file("replaced"));
    output.emplace(job, job.state().line(), number, checkpoint->output_bytes());
  }
  engine::RestoreOptions options;
  options.images_dir = folder;
  if (checkpoint) hand_over_log(job, *checkpoint, options);
  options.detached = true;
  options.validation = validation;
  options.tcp_close = config.tcp_close();
  if (config.has_cpu()) options.cpu = {config.cpu().registers(), config.cpu().instructions(), config.cpu().exact()};
  options.takes_masters = config.terminal();
  Damage damage;
  const engine::Restored restored = engine::restore(options, damage);
  if (files) files->keep();
  if (output) output->keep();
  job::Outcome outcome;
  outcome.set_pid(restored.root.get());
  if (!restored.masters.empty()) outcome.set_terminal(start_keeper(job, restored.masters.front().get()).get());
  outcome.set_total_us(restored.statistics.total_us);
  outcome.set_memory_us(restored.statistics.memory_us);
  outcome.set_damage(damage.any());
  return outcome;
}

}  // namespace

template <typename Work>
void EngineCall::start(const JobFolder& job, const Work& work) {
  UniqueFd lock = job.engine_lock();
  if (!sys::try_hold(lock.get()))
    throw Error(Fault::refused, "a checkpoint that an earlier supervisor has begun is still under way",
                fmt::format("try again when it has ended; {} says how far it is", job.file("execution.log")));
  sys::Pipe pipe = sys::make_pipe(O_CLOEXEC);
  const int kept[] = {pipe.write_end.get(), lock.get()};
  pid_ = sys::start_child(kept, [&] {
    job::Outcome outcome;
    try {
      outcome = work();
      outcome.set_ok(true);
    } catch (const Error& error) {
      outcome = outcome_of(error);
      log::dump_ring();
      log::error("job", "Error ({}): {}", error.place(), error.what());
    } catch (const std::exception& error) {
      outcome = outcome_of(Error(Fault::internal, error.what(), "this is a defect of mini-criu"));
    }
    log::flush();
    outcome.set_number(number_);
    sys::write_text(kept[0], outcome.SerializeAsString());
    return outcome.ok() ? 0 : 1;
  });
  pidfd_ = sys::open_pidfd(pid_);
  result_ = std::move(pipe.read_end);
}

EngineCall EngineCall::dump(const JobFolder& job, const job::Config& config, const Dump& what) {
  const std::string folder = begin_checkpoint(job, what.number, what.elsewhere);
  EngineCall call(What::dump, what.number, what.stop);
  call.start(job, [&] { return dump_here(job, config, what, folder); });
  return call;
}

EngineCall EngineCall::restore(const JobFolder& job, const job::Config& config, uint32_t number,
                               engine::FileValidation validation) {
  EngineCall call(What::restore, number, false);
  call.start(job, [&] { return restore_here(job, config, number, validation); });
  return call;
}

void EngineCall::kill() {
  sys::signal_by_pidfd(pidfd_.get(), SIGKILL);
}

job::Outcome EngineCall::take_outcome() {
  std::string bytes;
  char buffer[4096];
  // Not to an end of file: somebody else may have the pipe still.
  while (sys::poll_now(result_.get(), POLLIN) & POLLIN) {
    const size_t n = sys::read_some(result_.get(), buffer, sizeof buffer);
    if (n == 0) break;
    bytes.append(buffer, n);
  }
  const auto end = sys::collect_ended(pid_);
  job::Outcome outcome;
  if (!bytes.empty() && outcome.ParseFromString(bytes)) return outcome;
  outcome.Clear();
  outcome.set_number(number_);
  outcome.set_fault("internal");
  const bool killed = end && end->what == sys::ChildChange::What::killed;
  outcome.set_reason(!end     ? "the engine has ended without a word"
                     : killed ? fmt::format("the engine was ended by signal {}", sys::signal_name(end->number))
                              : fmt::format("the engine ended with status {} and without a word", end->number));
  outcome.set_remedy("its log says how far it came");
  return outcome;
}

bool EngineCall::wait_for_former(const JobFolder& job, int milliseconds) {
  const UniqueFd lock = job.engine_lock();
  const auto last = Clock::now() + std::chrono::milliseconds(milliseconds);
  while (!sys::try_hold(lock.get())) {
    if (Clock::now() > last) return false;
    sys::wait_any_readable({}, 10);
  }
  return true;
}

}  // namespace mcr::jobs
