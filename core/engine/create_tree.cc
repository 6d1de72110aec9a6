#include "core/engine/create_tree.h"

#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <set>
#include <span>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/crew.h"
#include "core/engine/install_seccomp.h"
#include "core/engine/spawn_threads.h"
#include "core/facets/timer_calls.h"
#include "core/mem/address_space.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/tree/creation_plan.h"
#include "images/proto/facets.pb.h"

namespace mcr::engine {
namespace {

using What = tree::CreationStep::What;

bool has_death_signal(const tree::ProcessImage& process) {
  for (const auto& thread : process.threads)
    for (const auto& facet : thread.facets()) {
      image::ThreadControl message;
      if (facet.UnpackTo(&message) && message.parent_death_signal() != 0) return true;
    }
  return false;
}

std::vector<tree::Member> members_of(const std::vector<tree::ProcessImage>& images) {
  std::vector<tree::Member> members;
  for (const auto& image : images) {
    const auto& core = image.core;
    members.push_back({core.pid(), core.ppid(), core.pgid(), core.sid(), image.shared_with,
                       core.has_exit_signal() ? core.exit_signal() : SIGCHLD});
  }
  // The first of those that share is named by the others only.
  std::map<pid_t, size_t> index;
  for (size_t i = 0; i < members.size(); ++i) index.emplace(members[i].pid, i);
  for (const auto& image : images)
    for (size_t what = 0; what < image.shared_with.size(); ++what)
      if (const pid_t first = image.shared_with[what]; first != 0 && index.contains(first))
        members[index.at(first)].shared_with[what] = first;
  return members;
}

uint64_t clone_flags_of(tree::SharedSet shared) {
  uint64_t flags = 0;
  for (const auto& [what, flag] :
       {std::pair{tree::Shared::memory, CLONE_VM}, std::pair{tree::Shared::handlers, CLONE_SIGHAND},
        std::pair{tree::Shared::files, CLONE_FILES}, std::pair{tree::Shared::directories, CLONE_FS}})
    if (shared & tree::bit(what)) flags |= static_cast<uint64_t>(flag);
  return flags;
}

// A number for the parasites' sockets that no process of the tree uses.
int free_socket_number(const std::vector<tree::ProcessImage>& images) {
  int number = 100;
  for (const auto& image : images)
    for (const auto& d : image.descriptors) number = std::max(number, d.fd() + 1);
  while (sys::is_open(number)) ++number;
  return number;
}

// Room for the calls and buffers that make timers and pending signals again: there can be many of both.
size_t bytes_of_signals(const tree::ProcessImage& process) {
  constexpr size_t kSignal = sizeof(siginfo_t) + sizeof(parasite::Call), kTimer = 1024;
  size_t bytes = 0;
  const auto add = [&](const facets::Facets& all) {
    for (const auto& facet : all) {
      image::PendingSignals signals;
      image::PosixTimers timers;
      if (facet.UnpackTo(&signals)) bytes += static_cast<size_t>(signals.siginfo_size()) * kSignal;
      if (facet.UnpackTo(&timers)) bytes += static_cast<size_t>(timers.timers_size()) * kTimer;
    }
  };
  add(process.core.facets());
  for (const auto& thread : process.threads) add(thread.facets());
  return bytes;
}

// Room for the calls and buffers of the other facets: none needs more than so many times its message.
size_t bytes_for_state(const tree::ProcessImage& process) {
  constexpr size_t kTimes = 32;
  size_t bytes = 0;
  for (const auto& any : process.core.facets()) bytes += any.value().size();
  for (const auto& thread : process.threads)
    for (const auto& any : thread.facets()) bytes += any.value().size();
  return bytes * kTimes;
}

class TreeCreator {
 public:
  explicit TreeCreator(const CreationContext& context)
      : context_(context), images_(context.images), options_(context.options), terminals_(context.terminals) {
    layout_.namespaces = context.namespaces;
    for (const auto& image : images_) by_pid_[image.core.pid()] = &image;
  }

  NewProcesses run(std::map<int32_t, HostPid>& zombies) {
    const tree::CreationPlan plan = tree::plan_creation(members_of(images_), options_.shell_job);
    lay_out(plan);
    const std::span<const tree::CreationStep> steps(plan.steps);
    for (size_t i = 0; i < steps.size();) {
      const auto series = series_of(steps.subspan(i));
      for (const tree::CreationStep& step : series) log::debug("restore", "{}", tree::describe(step));
      if (series.size() > 1)
        create_series(series);
      else
        execute(steps[i]);
      i += series.size();
    }
    share_terminals();
    end_zombies();
    for (auto& [pid, process] : processes_)
      if (process) forget_signals(pid, *process);
    drop_places_of_others();
    zombies = std::move(zombies_);
    return std::move(processes_);
  }

 private:
  // One layout for all: what is cloned has the parasite where its creator has it. Only what shares its creator's memory
  // needs another place, and what shares its descriptors another number.
  void lay_out(const tree::CreationPlan& plan) {
    layout_.sibling = options_.sibling;
    // Our end would be its parent's death.
    layout_.orphan = options_.detached && !options_.sibling && has_death_signal(images_.front());
    layout_.socket_number = free_socket_number(images_);
    size_t most = 0;
    std::vector<mem::AddressRange> taken;
    for (const auto& m : context_.ours) taken.push_back({m.start, m.end});
    for (const auto& image : images_) {
      if (image.core.zombie()) continue;
      most = std::max(most, image.threads.size() * kBytesPerThread + bytes_of_signals(image) + bytes_for_state(image) +
                                SeccompInstallation(image).bytes());
      for (const auto& vma : image.vmas) taken.push_back({vma.start(), vma.end()});
    }
    layout_.data_bytes = (512 * 1024 + most + 4095) / 4096 * 4096;
    const auto sharers = std::ranges::count_if(
        plan.steps, [](const tree::CreationStep& step) { return step.shared & tree::bit(tree::Shared::memory); });
    const uint64_t bytes = inject::blob_bytes(layout_.data_bytes) * (static_cast<uint64_t>(sharers) + 1);
    layout_.blob_address = mem::find_hole(std::move(taken), bytes);
    layout_.region_start = layout_.blob_address, layout_.region_end = layout_.blob_address + bytes;
    next_place_ = layout_.blob_address, next_socket_ = layout_.socket_number;
  }

  void execute(const tree::CreationStep& step) {
    switch (step.what) {
      case What::create:
        return step.actor == 0 ? create_root(step.pid) : create(step);
      case What::create_helper:
        return create_helper(step);
      case What::new_session:
        call(step.actor, "setsid", SYS_setsid, {});
        return take_terminal(step.actor);
      case What::join_group:
        return join_group(step);
      case What::adopt:
        return call(step.actor, "prctl(PR_SET_CHILD_SUBREAPER)", SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0});
      case What::stop_adopting:
        return call(step.actor, "prctl(PR_SET_CHILD_SUBREAPER)", SYS_prctl, {PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0});
      case What::unshare:
        return call(step.actor, "unshare", SYS_unshare, {clone_flags_of(step.shared)});
      case What::end_helper:
        helpers_.erase(step.pid);  // its socket is at its end, and so is it
        return collect(step.actor, helper_pids_.at(step.pid));
    }
  }

  inject::Channel& channel(pid_t pid) {
    if (const auto helper = helpers_.find(pid); helper != helpers_.end()) return *helper->second.channel;
    return processes_.at(pid)->channel();
  }

  void call(pid_t actor, const char* what, long number, std::initializer_list<uint64_t> args) {
    inject::Batch batch = channel(actor).batch();
    batch.add(what, number, args);
    channel(actor).run(batch);
  }

  // With a descriptor that is there for these calls only.
  void call_with(pid_t actor, int fd, const char* what, uint64_t request, const pid_t* group) {
    const Step step("process {}", actor), terminal_step("controlling terminal");
    const auto remote = static_cast<uint64_t>(channel(actor).send(std::span(&fd, 1)).front());
    inject::Batch batch = channel(actor).batch();
    const uint64_t argument = group ? batch.put_value(*group).get() : 0;
    batch.add(what, SYS_ioctl, {remote, request, argument});
    batch.add("close", SYS_close, {remote});
    channel(actor).run(batch);
  }

  // Only a leader can, and who is born afterwards inherits it.
  void take_terminal(pid_t leader) {
    if (const auto found = terminals_.find(leader); found != terminals_.end())
      call_with(leader, found->second.slave, "ioctl(TIOCSCTTY)", TIOCSCTTY, nullptr);
  }

  // All are in their groups. A leader is in the foreground at first, so nobody gets a signal (tty_check_change).
  void share_terminals() {
    for (const auto& [session, terminal] : terminals_) {
      if (!processes_.contains(session)) continue;
      if (terminal.foreground != 0)
        call_with(session, terminal.slave, "ioctl(TIOCSPGRP)", TIOCSPGRP, &terminal.foreground);
      for (const pid_t pid : terminal.detached)
        if (processes_.contains(pid) && by_pid_.at(pid)->core.sid() == session)
          call_with(pid, terminal.slave, "ioctl(TIOCNOTTY)", TIOCNOTTY, nullptr);
    }
  }

  void create_root(pid_t pid) {
    inject::NewProcessPlan plan = layout_;
    plan.pid = pid;
    auto process = std::make_unique<inject::NewProcess>(plan, context_.damage);
    if (options_.timeout.count() > 0) process->channel().set_deadline(options_.timeout);
    inject::Batch batch = process->channel().batch();
    const auto socket = static_cast<uint64_t>(process->control_socket());
    if (socket > 0) batch.add("close_range", SYS_close_range, {0, socket - 1, 0});
    batch.add("close_range", SYS_close_range, {socket + 1, 0xffffffff, 0});
    process->channel().run(batch);
    // What is cloned from it has less to copy.
    mem::drop_inherited_mappings(*process, context_.memory.kernel_pages(), {});
    places_[pid] = {layout_.blob_address, layout_.socket_number};
    memory_[pid] = std::make_shared<BornMemory>(BornMemory{context_.memory.kernel_pages()});
    processes_[pid] = std::move(process);
    settle(pid);
  }

  // What shares its creator's memory finds it as it is to be.
  void settle(pid_t pid) {
    if (!by_pid_.at(pid)->has_own(tree::Shared::memory)) return;
    if (context_.memory.is_lender(pid)) context_.before_memory(pid);
    context_.memory.settle(pid, *processes_.at(pid), *memory_.at(pid));
  }

  inject::SpawnRequest request_of(const tree::CreationStep& step) const {
    const image::ProcessCore& core = by_pid_.at(step.pid)->core;
    inject::SpawnRequest request{step.pid, step.sibling, SIGCHLD};
    if (core.has_exit_signal()) request.exit_signal = core.exit_signal();
    return request;
  }

  void create(const tree::CreationStep& step) {
    inject::SpawnRequest request = request_of(step);
    inject::Spawned spawned = spawn(step, request);
    if (by_pid_.at(step.pid)->core.zombie()) {
      zombies_.emplace(step.pid, spawned.pid);
      helpers_[step.pid] = std::move(spawned);
      return;
    }
    enter(step, std::move(spawned));
    settle(step.pid);
  }

  // Children of one process that share nothing with it: they are made at once.
  std::span<const tree::CreationStep> series_of(std::span<const tree::CreationStep> steps) const {
    constexpr size_t kMost = 64;  // each has a copy of the page tables until it is settled
    const auto belongs = [&](const tree::CreationStep& step) {
      return step.what == What::create && step.actor == steps.front().actor && step.actor != 0 && !step.sibling &&
             step.shared == 0 && !by_pid_.at(step.pid)->core.zombie();
    };
    size_t count = 0;
    while (context_.namespaces == nullptr && count < std::min(steps.size(), kMost) && belongs(steps[count])) ++count;
    return steps.first(std::max<size_t>(count, 1));
  }

  void create_series(std::span<const tree::CreationStep> steps) {
    const pid_t actor = steps.front().actor;
    std::vector<inject::SpawnRequest> requests;
    for (const tree::CreationStep& step : steps) requests.push_back(request_of(step));
    inject::NewProcessPlan plan = layout_;
    std::tie(plan.blob_address, plan.socket_number) = places_.at(actor);
    inject::spawn_all(channel(actor), requests, plan, [&](size_t i, inject::Spawned spawned) {
      places_[steps[i].pid] = {spawned.blob_address, spawned.socket_number};
      memory_[steps[i].pid] = std::make_shared<BornMemory>(*memory_.at(actor));
      enter(steps[i], std::move(spawned));
    });
    std::vector<size_t> others;
    for (size_t i = 0; i < steps.size(); ++i)
      if (context_.memory.is_lender(steps[i].pid))
        settle(steps[i].pid);
      else
        others.push_back(i);
    by_crew(processes_, others, [&](size_t i) { settle(steps[i].pid); });
  }

  void enter(const tree::CreationStep& step, inject::Spawned spawned) {
    inject::NewProcessPlan plan = layout_;
    plan.pid = step.pid;
    auto process = std::make_unique<inject::NewProcess>(std::move(spawned), plan, context_.damage);
    if (options_.timeout.count() > 0) process->channel().set_deadline(options_.timeout);
    processes_[step.pid] = std::move(process);
  }

  inject::Spawned spawn(const tree::CreationStep& step, inject::SpawnRequest& request) {
    request.shared = clone_flags_of(step.shared);
    if (request.shared & CLONE_VM) request.blob_address = next_place_ += inject::blob_bytes(layout_.data_bytes);
    if (request.shared & (CLONE_VM | CLONE_FILES)) request.socket_number = ++next_socket_;
    inject::NewProcessPlan plan = layout_;
    std::tie(plan.blob_address, plan.socket_number) = places_.at(step.actor);
    inject::Spawned spawned = inject::spawn(channel(step.actor), request, plan);
    places_[step.pid] = {spawned.blob_address, spawned.socket_number};
    const auto& creators = memory_.at(step.actor);
    memory_[step.pid] = request.shared & CLONE_VM ? creators : std::make_shared<BornMemory>(*creators);
    return spawned;
  }

  // What a process was born with: the parasites of those that share its creator's memory.
  void drop_places_of_others() {
    const uint64_t bytes = inject::blob_bytes(layout_.data_bytes);
    if (layout_.region_end - layout_.region_start == bytes) return;
    std::map<pid_t, std::set<uint64_t>> used;  // by who has the memory
    const auto memory_of = [&](pid_t pid) {
      const pid_t with = by_pid_.at(pid)->shared_with[static_cast<size_t>(tree::Shared::memory)];
      return with != 0 ? with : pid;
    };
    for (const auto& [pid, process] : processes_) used[memory_of(pid)].insert(process->blob_start());
    for (const auto& [pid, process] : processes_) {
      if (memory_of(pid) != pid) continue;
      inject::Batch batch = process->channel().batch();
      for (uint64_t place = layout_.region_start; place < layout_.region_end; place += bytes)
        if (!used.at(pid).contains(place)) batch.add("munmap", SYS_munmap, {place, bytes});
      process->channel().run(batch);
    }
  }

  void create_helper(const tree::CreationStep& step) {
    inject::SpawnRequest request{std::max(step.pid, 0), false, SIGCHLD};
    inject::Spawned spawned = spawn(step, request);
    helper_pids_[step.pid] = spawned.inside;
    helpers_[step.pid] = std::move(spawned);
  }

  void join_group(const tree::CreationStep& step) {
    const pid_t group = step.pid == 0 ? sys::group_of(0) : step.pid;
    call(step.actor, "setpgid", SYS_setpgid, {0, static_cast<uint64_t>(group)});
  }

  void collect(pid_t parent, pid_t child) {
    call(parent, "wait4", SYS_wait4, {static_cast<uint64_t>(child), 0, __WALL, 0});
  }

  // They end as they had ended, without a core file, and stay for their parents.
  void end_zombies() {
    for (const auto& image : images_) {
      if (!image.core.zombie()) continue;
      const pid_t pid = image.core.pid();
      const Step step("zombie {}", pid);
      inject::Spawned& zombie = helpers_.at(pid);
      const UniqueFd pidfd = sys::open_pidfd(zombie.pid);
      inject::Batch batch = zombie.channel->batch();
      batch.add("prctl(PR_SET_NAME)", SYS_prctl, {PR_SET_NAME, batch.put_string(image.core.command()).get()});
      batch.add("setrlimit", SYS_setrlimit, {RLIMIT_CORE, batch.put_value(rlimit{0, 0}).get()});
      add_end(batch, pid, image.core.exit_status());
      zombie.channel->start(batch);
      if (!sys::wait_readable(pidfd.get(), 10'000)) throw Error(Fault::timeout, "it did not end");
      helpers_.erase(pid);
    }
  }

  static void add_end(inject::Batch& batch, pid_t pid, int status) {
    const int signal = WTERMSIG(status);
    if (WIFEXITED(status)) {
      batch.add("exit_group", SYS_exit_group, {static_cast<uint64_t>(WEXITSTATUS(status))});
      return;
    }
    constexpr uint64_t kUnblock = 1, kSetBytes = 8;  // SIG_UNBLOCK
    const uint64_t set = uint64_t{1} << (signal - 1);
    batch.add("kill", SYS_kill, {static_cast<uint64_t>(pid), static_cast<uint64_t>(signal)});
    batch.add("rt_sigprocmask", SYS_rt_sigprocmask, {kUnblock, batch.put_value(set).get(), 0, kSetBytes});
  }

  // The ends of helpers and zombies were announced to their parents, who had been told before. An action that
  // discards a signal discards those that wait (sigaction(2)).
  void forget_signals(pid_t pid, inject::NewProcess& process) {
    if (!has_ended_child(pid)) return;
    inject::Batch batch = process.channel().batch();
    for (uint64_t signal = 1; signal <= 64; ++signal) {
      struct {
        uint64_t handler = 1, flags = 0, restorer = 0, mask = 0;  // SIG_IGN
      } action;
      if (signal == SIGKILL || signal == SIGSTOP) continue;
      batch.add("rt_sigaction", SYS_rt_sigaction, {signal, batch.put_value(action).get(), 0, 8});
      action.handler = 0;
      batch.add("rt_sigaction", SYS_rt_sigaction, {signal, batch.put_value(action).get(), 0, 8});
    }
    process.channel().run(batch);
  }

  bool has_ended_child(pid_t pid) const {
    return !helper_pids_.empty() || std::any_of(images_.begin(), images_.end(), [&](const auto& image) {
      return image.core.zombie() && image.core.ppid() == pid;
    });
  }

  const CreationContext& context_;
  const std::vector<tree::ProcessImage>& images_;
  const RestoreOptions& options_;
  const Terminals& terminals_;
  std::map<pid_t, const tree::ProcessImage*> by_pid_;
  inject::NewProcessPlan layout_;
  std::map<pid_t, inject::Spawned> helpers_;  // by the number in the plan; zombies-to-be too
  std::map<int32_t, HostPid> zombies_;
  std::map<pid_t, pid_t> helper_pids_;                   // what numbers they really have, in their pid namespace
  std::map<pid_t, std::shared_ptr<BornMemory>> memory_;  // by the number in the plan; one of those that share it
  std::map<pid_t, std::pair<uint64_t, int>> places_;     // of the parasite, and the number of its socket
  uint64_t next_place_ = 0;
  int next_socket_ = -1;
  NewProcesses processes_;
};

}  // namespace

NewProcesses create_tree(const CreationContext& context, std::map<int32_t, HostPid>& zombies) {
  const Step step("create the processes");
  return TreeCreator(context).run(zombies);
}

std::vector<pid_t> helper_pids(const std::vector<tree::ProcessImage>& images, bool inherits_session) {
  return tree::plan_creation(members_of(images), inherits_session).helpers;
}

}  // namespace mcr::engine
