#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <map>

#include "core/arch/xstate.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/version.h"
#include "core/engine/dump_policy.h"
#include "core/engine/dump_process.h"
#include "core/engine/early_mappings.h"
#include "core/engine/engine.h"
#include "core/engine/gpu_dump.h"
#include "core/engine/host_cpu.h"
#include "core/engine/look.h"
#include "core/engine/obstacle_stack.h"
#include "core/engine/origin.h"
#include "core/engine/process_limits.h"
#include "core/engine/stored_pages.h"
#include "core/kinds/sysv_ipc.h"
#include "core/sys/file.h"
#include "core/trace/held_tree.h"

namespace mcr::engine {
namespace {

using sys::Clock;

uint64_t microseconds(Clock::time_point from, Clock::time_point to) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(to - from).count());
}

uint64_t nanoseconds_of(Clock::time_point moment) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(moment.time_since_epoch()).count());
}

void call_hook(const Hook& hook, std::string_view action, HostPid root) {
  if (hook) hook(action, root);
}

void describe_host(image::Inventory& inventory) {
  inventory.set_format_version(images::kFormatVersion);
  inventory.set_engine_version(kVersion);
  inventory.set_created_unix_ns(sys::clock_ns(CLOCK_REALTIME));
  std::string host = sys::host_name();  // may hold any bytes; the inventory must stay text
  std::replace_if(
      host.begin(), host.end(), [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
  inventory.set_host(host);
  inventory.set_kernel_release(sys::kernel_release());
  inventory.set_architecture("x86_64");
  inventory.set_page_size(4096);
  auto* cpu = inventory.mutable_cpu();
  for (auto& flag : cpu_flags(*cpu->mutable_vendor(), *cpu->mutable_model())) cpu->add_features(std::move(flag));
}

kinds::IpcUse ipc_use_of(const trace::FrozenTree& tree) {
  kinds::IpcUse use;
  for (const auto& process : tree.processes()) {
    use.pids.insert(process->pid.get());
    for (const auto& thread : process->threads)
      use.note_call(static_cast<int64_t>(thread->frame().orig_rax), thread->frame().rdi);
  }
  return use;
}

images::ImageWriter make_writer(const DumpOptions& options) {
  if (options.stream) return images::ImageWriter(*options.stream);
  return images::ImageWriter(options.images_dir, options.sync);
}

// Phases after the look: the tree stands still from the constructor of `frozen` to thaw or kill.
class Dump {
 public:
  Dump(const DumpOptions& options, Damage& damage, kinds::OpenFiles files, MemorySharers& sharers,
       std::set<HostPid> known, const GpuUsers& gpu_users, ObstacleStack& obstacle)
      : options_(options),
        damage_(damage),
        files_(std::move(files)),
        sharers_(sharers),
        known_(std::move(known)),
        gpu_users_(gpu_users),
        obstacle_(obstacle),
        writer_(make_writer(options)) {
    writer_.set_progress(options.progress);
    if (options.progress) options.progress->begin("saving");
    if (options.streams != 0)
      other_files_.streams = &streams_.emplace(writer_, options.streams, options.compression);
    else if (!writer_.is_stream())
      other_files_.second = &second_.emplace(writer_);
  }

  image::DumpStatistics run(Clock::time_point start) {
    describe_host(inventory_);
    call_hook(options_.hook, "pre-dump", options_.tree);
    bystanders_.prepare(known_);
    tracking_.emplace(options_);  // first: what it holds stays registered
    GpuDump gpu(options_, damage_);
    const auto before_gpu = Clock::now();
    gpu.suspend(gpu_users_, deadline_from_now(), statistics_);  // which changes its memory
    const auto gpu_took = Clock::now() - before_gpu;
    read_early();
    statistics_.set_look_us(microseconds(start + gpu_took, Clock::now()));
    if (!sys::try_read_text("/proc/timer_list")) note_runs();
    const auto freeze_start = Clock::now();
    const sys::Deadline deadline = deadline_from_now();
    trace::FrozenTree frozen(options_.tree, deadline, damage_);
    statistics_.set_freeze_us(microseconds(freeze_start, Clock::now()));
    collect_or_tell(frozen);
    gpu.write(writer_);
    if (options_.leave_running) {
      files_.sockets().release();
      frozen.thaw();
      statistics_.set_frozen_us(microseconds(frozen.first_stop(), Clock::now()));
    }
    const std::exception_ptr lost_gpu = options_.leave_running ? gpu.try_resume(statistics_) : nullptr;
    store_later();
    bystanders_.end();  // the kill waits for the end of all our children
    store(frozen);
    if (!writer_.is_stream()) call_last_hook();
    if (options_.leave_stopped)
      frozen.leave_stopped();
    else if (!options_.leave_running)
      files_.sockets().silence(frozen.processes().front()->pidfd.get(),
                               [&] { frozen.kill([&] { processes_.clear(); }); });
    if (!options_.leave_running) {
      gpu.abandon();
      statistics_.set_frozen_us(microseconds(frozen.first_stop(), Clock::now()));
      files_.outlast_attachments();
    }
    statistics_.set_total_us(microseconds(start, Clock::now()));
    if (lost_gpu) std::rethrow_exception(lost_gpu);  // the image is whole all the same
    return statistics_;
  }

 private:
  sys::Deadline deadline_from_now() const {
    if (options_.timeout.count() == 0) return std::nullopt;
    return Clock::now() + options_.timeout;
  }

  // Of all that have a pause to be short: not where all of the memory is to be stored in it.
  void read_early() {
    if (!options_.live && options_.previous_images.empty()) return;
    const bool counts_calls = !options_.live;
    for (const HostPid pid : known_) early_.read(pid, counts_calls);
    if (options_.leave_running && !options_.live && options_.streams == 0 && !writer_.is_stream()) held_.prepare();
  }

  void store_later() {
    const auto start = Clock::now();
    copies_.store(processes_, writer_, statistics_, other_files_);
    held_.store(processes_, writer_, statistics_);
    statistics_.set_memory_us(statistics_.memory_us() + microseconds(start, Clock::now()));
  }

  void note_runs() {
    for (const HostPid pid : trace::tree_of(options_.tree)) last_runs_.note(pid);
  }

  // The image is whole, and the program still there: a script that fails leaves it so. A stream lacks its end then: it
  // could not be called back, and the program would go on there and here.
  void call_last_hook() {
    try {
      call_hook(options_.hook, "post-dump", options_.tree);
    } catch (const Error&) {
      log::message("dump", "The image is {}. The program goes on, as a script has failed",
                   writer_.is_stream() ? "not ended, and cannot be restored" : "complete");
      throw;
    }
  }

  // Of the zombies too, whose numbers are needed.
  void write_origin(const trace::FrozenTree& frozen) {
    const bool goes_on = options_.leave_running || options_.leave_stopped;
    std::vector<HostPid> pids;
    if (!goes_on)
      for (const auto& process : frozen.processes()) pids.push_back(process->pid);
    auto records = writer_.records("origin.img");
    records.append(describe_origin(pids, goes_on));
    records.finish();
    writer_.add(records);
  }

  void collect_or_tell(trace::FrozenTree& frozen) {
    try {
      collect(frozen);
    } catch (const Error& error) {
      obstacle_.copy(frozen, error);
      // What failed is a consequence then, and means nothing to the user.
      for (const auto& process : frozen.processes())
        if (process->was_killed())
          throw Error(Fault::system,
                      fmt::format("process {} was killed while it was saved ({})", process->pid, error.reason()));
      throw;
    }
  }

  void collect(trace::FrozenTree& frozen) {
    const kinds::IpcUse ipc = ipc_use_of(frozen);  // from the frames as they were
    std::vector<HostPid> living, all;
    for (const auto& process : frozen.processes()) {
      all.push_back(process->pid);
      if (!process->zombie) living.push_back(process->view());
    }
    files_.note_members(all);
    std::map<HostPid, int> pidfds;
    for (const auto& process : frozen.processes())
      if (!process->zombie) pidfds.emplace(process->view(), process->descriptors_pidfd());
    const auto pidfd_of = [&](HostPid view) {
      if (const auto found = pidfds.find(view); found != pidfds.end()) return found->second;
      throw Error(Fault::internal, fmt::format("there is no process {}", view));
    };
    files_.begin(living, SIZE_MAX, pidfd_of);
    // Asked again now that nothing can change any more.
    const SharedTables tables = look_at_frozen(frozen, options_, files_, known_);
    sharers_.begin_again();
    if (!options_.memory_only) {
      collect_sockets(frozen, pidfd_of);
      files_.collect_ptys(pidfd_of);
    }
    std::vector<SettledProcess> settled;
    for (const auto& process : frozen.processes())
      settled.push_back(settle_threads(*process, last_runs_, nanoseconds_of(frozen.first_stop())));
    tracking_->look_for_rings(living);
    processes_.reserve(settled.size());
    LateMemory late;
    ReadAhead read_ahead(frozen, tables, early_);
    DumpContext context{options_,   writer_, files_,       sharers_, shared_,    statistics_,
                        inventory_, damage_, bystanders_,  tables,   frozen,     processes_,
                        read_ahead, copies_, other_files_, late,     *tracking_, held_};
    dump_processes(settled, context);
    if (options_.memory_only) return;
    sharers_.refuse_outsiders(true);
    kinds::dump_ipc(ipc, writer_);
    files_.connect();
    collect_cgroups(living);
    if (options_.while_frozen) options_.while_frozen(living);
    note_stops(frozen);  // as late as can be
  }

  void dump_processes(const std::vector<SettledProcess>& settled, DumpContext& context) {
    const auto& all = context.tree.processes();
    try {
      for (size_t i = 0; i < settled.size(); ++i) {
        bool has_pages_left = false;
        processes_.push_back(all[i]->zombie ? dump_zombie(all[i]->pid)
                                            : dump_process(*all[i], settled[i], context, has_pages_left));
        if (has_pages_left) store_pages_later(*all[i], processes_.back(), context);
      }
    } catch (...) {
      context.late.finish();  // what stood in the way of one before is told first
      throw;
    }
    context.late.finish();
    const auto& late = context.late_statistics;
    statistics_.set_pages_scanned(statistics_.pages_scanned() + late.pages_scanned());
    statistics_.set_pages_written(statistics_.pages_written() + late.pages_written());
    statistics_.set_memory_us(statistics_.memory_us() + late.memory_us());
  }

  // Reading changes sockets for a moment, in which the program must not run whatever becomes of us.
  void collect_sockets(trace::FrozenTree& frozen, const std::function<int(HostPid)>& pidfd_of) {
    std::optional<trace::HeldTree> held;
    files_.collect_sockets(pidfd_of,
                           [&](const std::set<HostPid>& owners) { held.emplace(frozen.processes(), owners, damage_); });
    if (held) held->release();
  }

  // Job control goes on while the tree stands still: what it has done meanwhile is the state that lasts.
  void note_stops(const trace::FrozenTree& frozen) {
    for (size_t i = 0; i < processes_.size(); ++i) {
      const trace::FrozenProcess& process = *frozen.processes()[i];
      if (process.zombie) continue;
      const bool stopped = process.will_be_stopped();
      auto& core = processes_[i].core;
      if (stopped == core.stopped()) continue;
      core.set_stopped(stopped);
      core.set_stop_signal(stopped ? SIGSTOP : 0);
      core.set_stop_collected(false);
    }
  }

  void collect_cgroups(const std::vector<HostPid>& living) {
    if (!options_.manage_cgroups) {
      if (tree::spans_several_cgroups(living))
        log::warning("dump",
                     "The processes are in different control groups, which are not saved without "
                     "--manage-cgroups: all will be in those of `restore`");
      return;
    }
    cgroups_.emplace();
    for (const HostPid pid : living) cgroups_->enter(pid);
  }

  void store(const trace::FrozenTree& frozen) {
    const auto start = Clock::now();
    const Step step("write the image");
    for (const tree::ProcessImage& process : processes_) {
      tree::write_process(process, writer_);
      inventory_.add_pids(process.core.pid());
    }
    if (!options_.memory_only) files_.write(writer_);
    if (cgroups_) cgroups_->write(writer_);
    if (streams_) streams_->finish(inventory_);
    if (second_) second_->finish(inventory_);
    inventory_.set_root_pid(processes_.front().core.pid());
    inventory_.set_shell_job(options_.shell_job);
    inventory_.set_live(options_.live);
    inventory_.set_memory_only(options_.memory_only);
    inventory_.set_boot_time_ns(sys::clock_ns(CLOCK_BOOTTIME));
    inventory_.set_monotonic_ns(sys::clock_ns(CLOCK_MONOTONIC));
    inventory_.mutable_cpu()->set_xcr0(arch::host_xcr0());
    inventory_.mutable_cpu()->set_xsave_size(arch::host_layout().bytes);
    statistics_.set_image_bytes(writer_.bytes());
    auto records = writer_.records("stats-dump.img");
    records.append(statistics_);
    records.finish();
    writer_.add(records);
    if (writer_.is_stream()) {
      write_origin(frozen);
      call_last_hook();
    }
    tracking_->describe(inventory_);
    writer_.commit(std::move(inventory_));
    tracking_->settle();
    files_.keep_links();
    statistics_.set_commit_us(microseconds(start, Clock::now()));
  }

  const DumpOptions& options_;
  Damage& damage_;
  kinds::OpenFiles files_;
  MemorySharers& sharers_;
  const std::set<HostPid> known_;  // looked at before the freeze
  const GpuUsers& gpu_users_;
  ObstacleStack& obstacle_;
  mem::SharedObjects shared_;
  images::ImageWriter writer_;
  std::optional<mem::PageStreams> streams_;
  std::optional<mem::SecondFile> second_;
  mem::OtherFiles other_files_;
  image::DumpStatistics statistics_;
  image::Inventory inventory_;
  Bystanders bystanders_;
  std::optional<MemoryTracking> tracking_;
  std::vector<tree::ProcessImage> processes_;
  EarlyMappings early_;
  CopiedMemory copies_;
  HeldMemory held_;
  std::optional<tree::CgroupCollector> cgroups_;
  trace::LastRuns last_runs_;  // noted before the freeze when timers cannot be seen
};

}  // namespace

image::DumpStatistics dump(const DumpOptions& options, Damage& damage) {
  const auto start = Clock::now();
  const Step step("dump"), pid_step("pid {}", options.tree);
  const sys::ChildSignal children;
  const RaisedLimits limits({RLIMIT_NOFILE});
  const kinds::DumpPolicy policy = dump_policy(options);
  MemorySharers sharers(options.tree);
  kinds::Outsiders outsiders;
  GpuUsers gpu_users;
  Obstacles first;
  auto known = look_at_tree(options, identify_caller(), policy_of_look(policy), outsiders, sharers, gpu_users, first);
  ObstacleStack obstacle;
  try {
    Dump operation(options, damage, kinds::OpenFiles(policy, outsiders), sharers, std::move(known), gpu_users,
                   obstacle);
    return operation.run(start);
  } catch (const Error&) {
    obstacle.log();
    throw;
  }
}

}  // namespace mcr::engine
