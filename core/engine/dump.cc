#include <signal.h>
#include <time.h>

#include <algorithm>

#include "core/arch/xstate.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/version.h"
#include "core/engine/dump_process.h"
#include "core/engine/engine.h"
#include "core/engine/look.h"
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

std::vector<std::string> cpu_flags(std::string& vendor, std::string& model) {
  const std::string text = sys::read_text("/proc/cpuinfo");
  const auto value = [&](std::string_view key) -> std::string {
    const size_t at = text.find(key);
    if (at == std::string::npos) return {};
    const size_t colon = text.find(": ", at), end = text.find('\n', at);
    return colon < end ? text.substr(colon + 2, end - colon - 2) : std::string();
  };
  vendor = value("vendor_id"), model = value("model name");
  std::vector<std::string> flags;
  const std::string line = value("\nflags");
  for (size_t at = 0; at < line.size();) {
    const size_t end = std::min(line.find(' ', at), line.size());
    if (end > at) flags.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return flags;
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

// A program that is left running or stopped keeps its connections.
std::string lock_table_of(const DumpOptions& options) {
  if (!options.lock_network || options.leave_running || options.leave_stopped) return {};
  return fmt::format("mini-criu-{}-{:x}", options.tree, sys::clock_ns(CLOCK_BOOTTIME) / 1'000'000);
}

// Phases after the look: the tree stands still from the constructor of `frozen` to thaw or kill.
class Dump {
 public:
  Dump(const DumpOptions& options, Damage& damage, kinds::OpenFiles files, MemorySharers& sharers,
       std::set<HostPid> known)
      : options_(options),
        damage_(damage),
        files_(std::move(files)),
        sharers_(sharers),
        known_(std::move(known)),
        writer_(options.images_dir, options.sync) {}

  image::DumpStatistics run(Clock::time_point start) {
    describe_host(inventory_);
    call_hook(options_.hook, "pre-dump", options_.tree);
    bystanders_.prepare(known_);
    statistics_.set_look_us(microseconds(start, Clock::now()));
    if (!sys::try_read_text("/proc/timer_list")) note_runs();
    const auto freeze_start = Clock::now();
    sys::Deadline deadline;
    if (options_.timeout.count() > 0) deadline = freeze_start + options_.timeout;
    trace::FrozenTree frozen(options_.tree, deadline, damage_);
    statistics_.set_freeze_us(microseconds(freeze_start, Clock::now()));
    collect(frozen);
    if (options_.leave_running) {
      files_.sockets().release();
      frozen.thaw();
      statistics_.set_frozen_us(microseconds(frozen.first_stop(), Clock::now()));
    }
    bystanders_.end();  // the kill waits for the end of all our children
    store();
    call_last_hook();
    if (options_.leave_stopped)
      frozen.leave_stopped();
    else if (!options_.leave_running)
      files_.sockets().silence(frozen.processes().front()->pidfd.get(), [&] { frozen.kill(); });
    if (!options_.leave_running) {
      statistics_.set_frozen_us(microseconds(frozen.first_stop(), Clock::now()));
      files_.outlast_attachments();
    }
    statistics_.set_total_us(microseconds(start, Clock::now()));
    return statistics_;
  }

 private:
  void note_runs() {
    for (const HostPid pid : trace::tree_of(options_.tree)) last_runs_.note(pid);
  }

  // The image is whole, and the program still there: a script that fails leaves it so.
  void call_last_hook() {
    try {
      call_hook(options_.hook, "post-dump", options_.tree);
    } catch (const Error&) {
      log::message("dump", "The image is complete. The program goes on, as a script has failed");
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
    files_.begin(living);
    // Asked again now that nothing can change any more.
    const SharedTables tables = look_at_frozen(frozen, options_, files_, known_);
    sharers_.begin_again();
    const auto pidfd_of = [&](HostPid view) {
      for (const auto& process : frozen.processes())
        if (!process->zombie && process->view() == view) return process->descriptors_pidfd();
      throw Error(Fault::internal, fmt::format("there is no process {}", view));
    };
    collect_sockets(frozen, pidfd_of);
    files_.collect_ptys(pidfd_of);
    std::vector<SettledProcess> settled;
    for (const auto& process : frozen.processes())
      settled.push_back(settle_threads(*process, last_runs_, nanoseconds_of(frozen.first_stop())));
    ReadAhead read_ahead(frozen, tables);
    DumpContext context{options_, writer_,     files_, sharers_, shared_,    statistics_, inventory_,
                        damage_,  bystanders_, tables, frozen,   processes_, read_ahead};
    for (size_t i = 0; i < settled.size(); ++i) {
      trace::FrozenProcess& process = *frozen.processes()[i];
      processes_.push_back(process.zombie ? dump_zombie(process.pid) : dump_process(process, settled[i], context));
    }
    note_stops(frozen);
    sharers_.refuse_outsiders(true);
    kinds::dump_ipc(ipc, writer_);
    files_.connect();
    collect_cgroups(living);
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

  void store() {
    const auto start = Clock::now();
    const Step step("write the image");
    for (const tree::ProcessImage& process : processes_) {
      tree::write_process(process, writer_);
      inventory_.add_pids(process.core.pid());
    }
    files_.write(writer_);
    if (cgroups_) cgroups_->write(writer_);
    inventory_.set_root_pid(processes_.front().core.pid());
    inventory_.set_shell_job(options_.shell_job);
    inventory_.set_boot_time_ns(sys::clock_ns(CLOCK_BOOTTIME));
    inventory_.set_monotonic_ns(sys::clock_ns(CLOCK_MONOTONIC));
    inventory_.mutable_cpu()->set_xcr0(arch::host_xcr0());
    inventory_.mutable_cpu()->set_xsave_size(arch::host_layout().bytes);
    statistics_.set_image_bytes(writer_.bytes());
    auto records = writer_.records("stats-dump.img");
    records.append(statistics_);
    records.finish();
    writer_.add(records);
    writer_.commit(std::move(inventory_));
    files_.keep_links();
    statistics_.set_commit_us(microseconds(start, Clock::now()));
  }

  const DumpOptions& options_;
  Damage& damage_;
  kinds::OpenFiles files_;
  MemorySharers& sharers_;
  const std::set<HostPid> known_;  // looked at before the freeze
  mem::SharedObjects shared_;
  images::ImageWriter writer_;
  image::DumpStatistics statistics_;
  image::Inventory inventory_;
  Bystanders bystanders_;
  std::vector<tree::ProcessImage> processes_;
  std::optional<tree::CgroupCollector> cgroups_;
  trace::LastRuns last_runs_;  // noted before the freeze when timers cannot be seen
};

}  // namespace

image::DumpStatistics dump(const DumpOptions& options, Damage& damage) {
  const auto start = Clock::now();
  const Step step("dump"), pid_step("pid {}", options.tree);
  const sys::ChildSignal children;
  const kinds::DumpPolicy policy{
      options.shell_job,       options.ghost_limit,       options.validation == FileValidation::buildid,
      options.link_remap,      options.file_locks,        options.external,
      options.tcp_established, options.tcp_close,         options.skip_in_flight,
      lock_table_of(options),  options.outside_unix_peers};
  MemorySharers sharers(options.tree);
  kinds::Outsiders outsiders;
  auto known = look_at_tree(options, identify_caller(), policy, outsiders, sharers);
  Dump operation(options, damage, kinds::OpenFiles(policy, outsiders), sharers, std::move(known));
  return operation.run(start);
}

}  // namespace mcr::engine
