#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <list>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/caller.h"
#include "core/engine/create_tree.h"
#include "core/engine/engine.h"
#include "core/engine/image_check.h"
#include "core/engine/process_limits.h"
#include "core/engine/restore_check.h"
#include "core/engine/restore_process.h"
#include "core/kinds/locks_left.h"
#include "core/sys/file.h"
#include "core/sys/guardian.h"

namespace mcr::engine {
namespace {

using sys::Clock;

uint64_t since_us(Clock::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

void call_hook(const Hook& hook, std::string_view action, HostPid root) {
  if (hook) hook(action, root);
}

kinds::Validation validation_of(FileValidation wanted) {
  switch (wanted) {
    case FileValidation::none:
      return kinds::Validation::none;
    case FileValidation::filesize:
      return kinds::Validation::filesize;
    case FileValidation::buildid:
      return kinds::Validation::buildid;
  }
  return kinds::Validation::buildid;
}

// Lets a parent not be told that its child is stopped: it was told before, or is to find the child as it was.
class SilencedParent {
 public:
  SilencedParent(inject::NewProcess* parent, pid_t child) : parent_(parent), child_(child) {
    if (!parent_) return;
    inject::Batch batch = parent_->channel().small_batch();
    const RemoteAddr old = batch.put_value(action_);
    batch.add("rt_sigaction", SYS_rt_sigaction, {SIGCHLD, 0, old.get(), 8});
    parent_->channel().run(batch);
    action_ = batch.get<Action>(old);
    Action silent = action_;
    silent.flags |= SA_NOCLDSTOP;
    set(silent);
  }
  // Afterwards: the action as it was. `collect`: and the stop as if waited for.
  void end(bool collect) {
    if (!parent_) return;
    if (collect) {
      inject::Batch batch = parent_->channel().small_batch();
      batch.add("waitid", SYS_waitid, {P_PID, static_cast<uint64_t>(child_), 0, WSTOPPED | WNOHANG | __WALL, 0});
      parent_->channel().run(batch);
    }
    set(action_);
  }

 private:
  struct Action {
    uint64_t handler = 0, flags = 0, restorer = 0, mask = 0;
  };
  // The kernel does not announce to one who ignores (1); setting that again would discard what waits already.
  void set(const Action& action) {
    if (action_.handler == 1) return;
    inject::Batch batch = parent_->channel().small_batch();
    batch.add("rt_sigaction", SYS_rt_sigaction, {SIGCHLD, batch.put_value(action).get(), 0, 8});
    parent_->channel().run(batch);
  }

  inject::NewProcess* parent_;
  pid_t child_;
  Action action_;
};

void finish_all(const std::vector<tree::ProcessImage>& images, NewProcesses& processes,
                std::vector<std::unique_ptr<RestoringProcess>>& restoring, const RestoreOptions& options) {
  for (size_t i = images.size(); i-- > 0;) {
    const image::ProcessCore& core = images[i].core;
    if (core.zombie()) continue;
    const bool stopped = core.stopped() || options.leave_stopped;
    const auto parent = i > 0 && stopped ? processes.find(core.ppid()) : processes.end();
    SilencedParent silence(parent == processes.end() ? nullptr : parent->second.get(), core.pid());
    restoring[i]->finish(stopped);
    silence.end(core.stop_collected() || !core.stopped());
  }
}

void tell_host_pids(kinds::OpenedFiles& files, const NewProcesses& processes, std::map<int32_t, HostPid> host_pids) {
  for (const auto& [pid, process] : processes) host_pids.emplace(pid, process->pid());
  files.set_host_pids(std::move(host_pids));
}

// What refers to other open files. Some of it only a process itself can do.
void connect_files(kinds::OpenedFiles& files, const std::vector<tree::ProcessImage>& images,
                   std::vector<std::unique_ptr<RestoringProcess>>& restoring) {
  const Step step("open files");
  files.connect();
  for (size_t i = 0; i < images.size(); ++i) {
    std::vector<kinds::OpenedFiles::Watch> own;
    for (const auto& watch : files.watches())
      if (watch.pid == images[i].core.pid()) own.push_back(watch);
    if (!own.empty() && restoring[i]) restoring[i]->watch(own);
  }
}

// `complete`: called when all is there, and nothing runs down yet: timers are armed after it.
void fill_all(const std::vector<tree::ProcessImage>& images, NewProcesses& processes, RestoreContext& context,
              const std::function<void()>& complete) {
  std::vector<std::unique_ptr<RestoringProcess>> restoring;
  for (const auto& image : images)
    restoring.push_back(image.core.zombie() ? nullptr : begin_process(image, *processes.at(image.core.pid()), context));
  for (auto& process : restoring)
    if (process) process->fill();
  for (auto& process : restoring)
    if (process) process->create_threads();
  complete();
  for (auto& process : restoring)
    if (process) process->restore_state();
  connect_files(context.files, images, restoring);
  finish_all(images, processes, restoring, context.options);
  context.files.seek_late();  // nothing of ours is in any process: files like maps print what they printed
}

// The commit. As long as one thread of a process has EXITKILL our death kills that process, and the guardian the
// others; none has run an instruction of the program yet.
void release_all(NewProcesses& processes, kinds::TcpSockets& connections, int root) {
  connections.start(root);
  std::vector<int> pidfds;
  for (auto& [pid, process] : processes) pidfds.push_back(process->pidfd());
  std::optional<sys::Guardian> guardian;
  if (pidfds.size() > 1) guardian.emplace(pidfds);
  for (auto& [pid, process] : processes) process->commit();
  if (guardian) guardian->commit();
  connections.go_on();
  for (auto& [pid, process] : processes) process->release();
  connections.end();
}

bool needs_own_namespaces(const Caller& caller) {
  if (caller.has_checkpoint_right) return false;
  log::message("restore",
               "Without CAP_CHECKPOINT_RESTORE: the program gets its old pid in a user and pid namespace of its own");
  return true;
}

void check_cgroups(tree::RestoredCgroups& cgroups, const std::vector<tree::ProcessImage>& images,
                   const RestoreOptions& options, bool own_namespaces, std::vector<Problem>& problems) {
  cgroups.require_members(images);
  if (!own_namespaces)
    cgroups.check(problems);
  else if (options.cgroups.mode != tree::CgroupMode::ignore)
    problems.push_back(
        {"control groups", "need CAP_CHECKPOINT_RESTORE", "restore as root, or without --manage-cgroups"});
}

void refuse_with(const std::vector<Problem>& problems) {
  if (problems.empty()) return;
  throw ProblemList(Fault::refused,
                    fmt::format("{} thing{} in the way of this restore, nothing was created:", problems.size(),
                                problems.size() == 1 ? " stands" : "s stand"),
                    problems);
}

// The program runs: whatever a script says of it, it has been restored.
void call_last_hook(const Hook& hook, HostPid root) {
  try {
    call_hook(hook, "post-resume", root);
  } catch (const Error& error) {
    log::error("restore", "{}; the program runs", error.what());
  }
}

void count(const std::vector<tree::ProcessImage>& images, NewProcesses& processes, RestoreStatistics& statistics) {
  statistics.processes = static_cast<uint32_t>(images.size());
  for (auto& [pid, process] : processes) statistics.threads += static_cast<uint32_t>(process->threads().size());
}

void restore_ipc(kinds::IpcObjects& ipc, NewProcesses& processes) {
  ipc.restore([&](int pid) -> inject::Channel* {
    const auto process = processes.find(pid);
    return process == processes.end() ? nullptr : &process->second->channel();
  });
}

Restored restore_image(const RestoreOptions& options, const images::ImageReader& reader, kinds::OpenedFiles& files,
                       Clock::time_point start, Damage& damage) {
  const Caller caller = identify_caller();
  const bool own_namespaces = needs_own_namespaces(caller);
  const RaisedLimits limits;
  Restored result;
  const std::vector<tree::ProcessImage> images = read_processes(reader);
  std::vector<Problem> problems;
  tree::RestoredCgroups cgroups(reader, options.cgroups);
  check_cgroups(cgroups, images, options, own_namespaces, problems);
  kinds::IpcObjects ipc(reader);
  check_host(reader.inventory(), images, files, ipc, options, caller, own_namespaces, problems);
  refuse_with(problems);
  result.statistics.check_us = since_us(start);
  call_hook(options.hook, "pre-restore", HostPid(0));

  const auto create_start = Clock::now();
  const auto ours = procfs::parse_maps(sys::read_text("/proc/self/maps"));
  files.make_ptys();
  sys::OwnNamespaces namespaces;
  std::map<int32_t, HostPid> zombies;
  InheritedMemory inherited(images, reader, ours, options.redirect_vdso, [&](uint32_t id) { return files.open(id); });
  // Early: what they will use is counted there.
  cgroups.make();
  const auto before_memory = [&](int32_t pid) { cgroups.enter_process(pid); };
  NewProcesses processes = create_tree({images, ours, options, files.ptys().by_session(),
                                        own_namespaces ? &namespaces : nullptr, inherited, before_memory, damage},
                                       zombies);
  tell_host_pids(files, processes, std::move(zombies));
  for (auto& [pid, process] : processes) cgroups.enter_process(pid);
  inject::NewProcess& root = *processes.at(images.front().core.pid());
  const auto own = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", root.pid())));
  LentMemory lent(images);
  RestoreContext context{options, own, reader, files, lent, inherited, result.statistics, damage, processes, images};
  result.statistics.create_us = since_us(create_start);
  result.statistics.pages_restored = inherited.pages_filled();
  restore_ipc(ipc, processes);
  result.root = root.pid();
  fill_all(images, processes, context, [&] { call_hook(options.hook, "post-restore", result.root); });
  cgroups.enter_threads();
  files.finish_memory();
  ipc.finish();
  files.start();
  files.close_all();
  call_hook(options.hook, "pre-resume", result.root);
  count(images, processes, result.statistics);
  // Before anything is let go: process 1 then ends with the program, whatever becomes of us.
  if (own_namespaces) namespaces.commit(root.pidfd());
  cgroups.keep();
  release_all(processes, files.tcp_sockets(), root.pidfd());
  files.keep();
  ipc.keep();
  result.pidfd = root.take_pidfd();
  result.init_pidfd = namespaces.take_init_pidfd();
  files.remove_remap_links();
  result.statistics.total_us = since_us(start);
  call_last_hook(options.hook, result.root);
  return result;
}

}  // namespace

Restored restore(const RestoreOptions& options, Damage& damage) {
  const auto start = Clock::now();
  const Step step("restore");
  const sys::ChildSignal children;
  const images::ImageReader reader(options.images_dir);
  kinds::OpenedFiles files(reader, {options.shell_job, validation_of(options.validation), options.inherited,
                                    options.timers == Timers::real, options.tcp_close, options.lock_network});
  try {
    return restore_image(options, reader, files, start, damage);
  } catch (const ProblemList& list) {
    const std::string locks = kinds::describe_locks_left(files);
    if (locks.empty()) throw;
    std::vector<Problem> problems = list.problems();
    problems.push_back({"the network", locks, {}});
    throw ProblemList(list.fault(), list.reason(), std::move(problems), list.where());
  } catch (const Error& error) {
    const std::string locks = kinds::describe_locks_left(files);
    if (locks.empty()) throw;
    std::list<Step> steps;  // where it happened
    for (size_t i = Step::trail().size(); i < error.trail().size(); ++i) steps.emplace_back(error.trail()[i]);
    throw Error(error.fault(), error.reason(), error.remedy() + (error.remedy().empty() ? "" : "; ") + locks,
                error.code(), error.where());
  }
}

}  // namespace mcr::engine
