#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <list>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/checked_image.h"
#include "core/engine/create_tree.h"
#include "core/engine/crew.h"
#include "core/engine/engine.h"
#include "core/engine/lazy_memory.h"
#include "core/engine/origin.h"
#include "core/engine/process_limits.h"
#include "core/engine/restore_process.h"
#include "core/kinds/locks_left.h"
#include "core/sys/file.h"
#include "core/sys/guardian.h"
#include "images/far_image.h"

namespace mcr::engine {
namespace {

using sys::Clock;

constexpr std::chrono::seconds kWaitForEnd{10};  // of the saved program, where the image comes from the dump of it

uint64_t since_us(Clock::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

void call_hook(const Hook& hook, std::string_view action, HostPid root) {
  if (hook) hook(action, root);
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

// Those that have to do with others one after the other, then the rest by two threads.
class Fillers {
 public:
  Fillers(std::vector<std::unique_ptr<RestoringProcess>>& restoring, NewProcesses& processes)
      : restoring_(restoring), processes_(processes) {
    for (size_t i = 0; i < restoring.size(); ++i)
      if (restoring[i]) (restoring[i]->stands_alone() ? alone_ : entangled_).push_back(i);
  }
  void open_files() {
    for (const size_t i : alone_) restoring_[i]->open_files();
  }
  void each(void (RestoringProcess::*act)()) {
    for (const size_t i : entangled_) (restoring_[i].get()->*act)();
    by_crew(processes_, alone_, [&](size_t i) { (restoring_[i].get()->*act)(); });
  }

 private:
  std::vector<std::unique_ptr<RestoringProcess>>& restoring_;
  NewProcesses& processes_;
  std::vector<size_t> entangled_, alone_;
};

// What was filled by two threads at once took less time than the sum.
void note_filling(const std::vector<std::unique_ptr<RestoringProcess>>& restoring, uint64_t took_us,
                  RestoreStatistics& statistics) {
  RestoringProcess::Spent sum;
  for (const auto& process : restoring) {
    if (!process) continue;
    const RestoringProcess::Spent spent = process->spent();
    sum.memory_us += spent.memory_us, sum.threads_us += spent.threads_us, sum.pages += spent.pages;
  }
  const uint64_t all = std::max<uint64_t>(sum.memory_us + sum.threads_us, 1);
  statistics.memory_us += took_us * sum.memory_us / all;
  statistics.threads_us += took_us * sum.threads_us / all;
  statistics.pages_restored += sum.pages;
}

// `complete`: called when all is there, and nothing runs down yet: timers are armed after it.
void fill_all(const std::vector<tree::ProcessImage>& images, NewProcesses& processes, RestoreContext& context,
              RestoreStatistics& statistics, const std::function<void()>& complete) {
  std::vector<std::unique_ptr<RestoringProcess>> restoring;
  auto start = Clock::now();
  for (const auto& image : images)
    restoring.push_back(image.core.zombie() ? nullptr : begin_process(image, *processes.at(image.core.pid()), context));
  Fillers fillers(restoring, processes);
  fillers.open_files();
  fillers.each(&RestoringProcess::fill);
  note_filling(restoring, since_us(start), statistics);
  start = Clock::now();
  fillers.each(&RestoringProcess::create_threads);
  statistics.threads_us += since_us(start);
  complete();
  start = Clock::now();
  fillers.each(&RestoringProcess::restore_state);
  connect_files(context.files, images, restoring);
  finish_all(images, processes, restoring, context.options);
  statistics.threads_us += since_us(start);
  context.files.seek_late();  // nothing of ours is in any process: files like maps print what they printed
}

// The commit. As long as one thread of a process has EXITKILL our death kills that process, and the guardian the
// others; none has run an instruction of the program yet.
void release_all(NewProcesses& processes, kinds::TcpSockets& connections, int root, LazyMemory* lazy) {
  connections.start(root);
  std::vector<int> pidfds;
  for (auto& [pid, process] : processes) pidfds.push_back(process->pidfd());
  std::optional<sys::Guardian> guardian;
  if (pidfds.size() > 1) guardian.emplace(pidfds);
  if (lazy) lazy->settle();  // before: a program that lives must have somebody who brings its pages
  for (auto& [pid, process] : processes) process->commit();
  if (guardian) guardian->commit();
  connections.go_on();
  for (auto& [pid, process] : processes) process->release();
  connections.end();
}

void let_go(NewProcesses& processes, kinds::OpenedFiles& files, kinds::IpcObjects& ipc, tree::RestoredCgroups& cgroups,
            int root, LazyMemory* lazy) {
  cgroups.keep();
  release_all(processes, files.tcp_sockets(), root, lazy);
  files.keep();
  ipc.keep();
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

void take_handles(const std::vector<tree::ProcessImage>& images, NewProcesses& processes, bool stopped,
                  Restored& result) {
  const image::ProcessCore& root = images.front().core;
  result.root_was_stopped = root.stopped();
  result.pidfd = processes.at(root.pid())->take_pidfd();
  for (size_t i = 1; stopped && i < images.size(); ++i) {
    const auto process = processes.find(images[i].core.pid());
    if (process != processes.end() && !images[i].core.stopped())
      result.standing.push_back({process->second->pid(), process->second->take_pidfd()});
  }
}

void restore_ipc(kinds::IpcObjects& ipc, NewProcesses& processes) {
  ipc.restore([&](int pid) -> inject::Channel* {
    const auto process = processes.find(pid);
    return process == processes.end() ? nullptr : &process->second->channel();
  });
}

void announce(const std::vector<tree::ProcessImage>& images, Progress* progress) {
  if (!progress) return;
  uint64_t bytes = 0;
  for (const tree::ProcessImage& image : images)
    for (const image::PageRun& run : image.runs) bytes += run.bytes();
  progress->begin("restoring");
  progress->total = bytes;
}

void finish_objects(kinds::OpenedFiles& files, kinds::IpcObjects& ipc, std::vector<UniqueFd>& masters) {
  files.finish_memory();
  ipc.finish();
  files.start();
  masters = files.ptys().outside_masters();
  files.close_all();
}

std::unique_ptr<LazyMemory> make_lazy(bool wanted, const images::ImageReader& reader,
                                      const std::vector<tree::ProcessImage>& images, const std::set<int>& open_before) {
  return wanted ? std::make_unique<LazyMemory>(reader, images, open_before) : nullptr;
}

// The script may bring what the program needs, mounts or addresses, so that what stood in the way is looked at once
// more. It is not run beside the program itself, nor for a damaged image.
void prepare_host(CheckedImage& checked, const kinds::OpenedFiles& files) {
  const RestoreOptions& options = checked.options;
  const bool own_pids = checked.place.own_pids;
  if (!own_pids) wait_for_end(read_origin(checked.reader), kWaitForEnd);
  std::vector<Problem> problems = checked.find_problems(files);
  const bool is_hopeless = !own_pids && !problems.empty() && are_numbers_taken(checked.processes, options);
  if (options.hook && !is_hopeless) {
    options.hook("pre-restore", HostPid(0));
    if (!problems.empty()) problems = checked.find_problems(files);
  }
  refuse_with(problems);
  if (options.when_checked) options.when_checked();
}

Restored restore_image(const RestoreOptions& options, const images::ImageReader& reader, kinds::OpenedFiles& files,
                       const std::set<int>& open_before, Clock::time_point start, Damage& damage) {
  const RaisedLimits limits;
  CheckedImage checked(reader, options);
  const std::vector<tree::ProcessImage>& images = checked.processes;
  const PidPlace place = checked.place;
  announce(images, options.progress);
  if (!checked.caller.has_checkpoint_right)
    log::message("restore",
                 "Without CAP_CHECKPOINT_RESTORE: the program gets its old pid in a user and pid namespace of its own");
  prepare_host(checked, files);
  auto& cgroups = checked.cgroups;
  auto& ipc = checked.ipc;
  auto& gpu = checked.gpu;
  Restored result;
  result.statistics.check_us = since_us(start);
  // The driver reads all of what it gave to the host, before the program runs.
  const auto lazy = make_lazy(options.lazy && !gpu.has_work(), reader, images, open_before);
  const auto create_start = Clock::now();
  const auto ours = procfs::parse_maps(sys::read_text("/proc/self/maps"));
  files.make_ptys();
  sys::OwnNamespaces namespaces(place.own_user);
  std::map<int32_t, HostPid> zombies;
  const images::PageContent content(reader, checked.parents.get());
  InheritedMemory inherited(images, content, options.threads, ours, options.redirect_vdso,
                            [&](uint32_t id) { return files.open(id); });
  // Early: what they will use is counted there.
  cgroups.make();
  const auto before_memory = [&](int32_t pid) { cgroups.enter_process(pid); };
  NewProcesses processes = create_tree({images, ours, options, files.ptys().by_session(),
                                        place.own_pids ? &namespaces : nullptr, inherited, before_memory, damage},
                                       zombies);
  tell_host_pids(files, processes, std::move(zombies));
  for (auto& [pid, process] : processes) cgroups.enter_process(pid);
  inject::NewProcess& root = *processes.at(images.front().core.pid());
  const auto own = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", root.pid())));
  LentMemory lent(images);
  RestoreContext context{options, own, reader, content, files, lent, inherited, damage, processes, images, lazy.get()};
  result.statistics.create_us = since_us(create_start);
  result.statistics.pages_restored = inherited.pages_filled();
  restore_ipc(ipc, processes);
  result.root = root.pid();
  fill_all(images, processes, context, result.statistics,
           [&] { call_hook(options.hook, "post-restore", result.root); });
  cgroups.enter_threads();
  finish_objects(files, ipc, result.masters);
  call_hook(options.hook, "pre-resume", result.root);
  count(images, processes, result.statistics);
  gpu.restore(processes, result.statistics);
  // Before anything is let go: process 1 then ends with the program, whatever becomes of us.
  if (place.own_pids) namespaces.commit(root.pidfd());
  let_go(processes, files, ipc, cgroups, root.pidfd(), lazy.get());
  take_handles(images, processes, options.leave_stopped, result);
  result.init_pidfd = namespaces.take_init_pidfd();
  files.remove_remap_links();
  if (reader.far() && !lazy) images::tell_done(*reader.far());
  result.statistics.total_us = since_us(start);
  call_last_hook(options.hook, result.root);
  return result;
}

}  // namespace

Restored restore(const RestoreOptions& options, Damage& damage) {
  const auto start = Clock::now();
  const Step step("restore");
  const sys::ChildSignal children;
  const std::set<int> open_before = options.lazy ? open_descriptors() : std::set<int>();
  const images::ImageReader reader(place_of_image(options));
  refuse_memory_only(reader, options);
  kinds::OpenedFiles files(reader, restore_policy(options));
  try {
    return restore_image(options, reader, files, open_before, start, damage);
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
