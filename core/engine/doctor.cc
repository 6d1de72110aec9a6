#include "core/engine/doctor.h"

#include <linux/capability.h>

#include <algorithm>
#include <charconv>

#include "core/arch/cpu_features.h"
#include "core/base/log.h"
#include "core/engine/caller.h"
#include "core/engine/checked_image.h"
#include "core/engine/dump_policy.h"
#include "core/engine/gpu_dump.h"
#include "core/engine/host_cpu.h"
#include "core/engine/look.h"
#include "core/engine/measured_memory.h"
#include "core/engine/process_limits.h"
#include "core/engine/shared_tables.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/tcp_sockets.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::engine {
namespace {

// The command line, or the name where there is none.
std::string command_of(HostPid pid, const procfs::Status& status) {
  constexpr size_t kMost = 200;
  std::string text = sys::try_read_text(fmt::format("/proc/{}/cmdline", pid)).value_or("");
  while (!text.empty() && text.back() == '\0') text.pop_back();
  if (text.empty()) text = fmt::format("[{}]", status.name);
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  std::ranges::replace(text, '\0', ' ');
  return text;
}

// /proc/PID/task/TID/arch_status (5.4): since when AVX-512 was not used; -1: it was not, as far as the scheduler saw.
uint32_t count_avx512(HostPid view) {
  constexpr std::string_view kField = "AVX512_elapsed_ms:";
  uint32_t count = 0;
  for (const HostTid tid : trace::threads_of(view)) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/arch_status", view, tid));
    const size_t at = text ? text->find(kField) : std::string::npos;
    if (at != std::string::npos && text->find("-1", at) == std::string::npos) ++count;
  }
  return count;
}

std::string describe_inet(const procfs::InetSocket& socket, const char* kind) {
  constexpr int kListen = 10;  // TCP_LISTEN
  const std::string local = kinds::describe_end(socket.local, socket.local_port);
  if (socket.state == kListen) return fmt::format("{} {} listens", kind, local);
  if (socket.remote_port == 0) return fmt::format("{} {}", kind, local);
  return fmt::format("{} {} to {}", kind, local, kinds::describe_end(socket.remote, socket.remote_port));
}

std::string describe_unix(const procfs::UnixSocket& socket) {
  std::string name = *socket.name;
  if (!name.empty() && name.front() == '\0') name.front() = '@';
  return "unix " + name;
}

class TreeExamination {
 public:
  explicit TreeExamination(const DumpOptions& options)
      : options_(options), caller_(identify_caller()), sharers_(options.tree) {
    report_.root = options.tree;
  }

  TreeReport run() {
    const auto start = sys::Clock::now();
    look();
    describe();
    report_.amounts.look_us = look_us_;
    report_.forecast = forecast(report_.amounts);
    note_unseen();
    note_rights();
    report_.demands = demands_beyond_v2();
    log::debug("check", "examined in {} us", since_us(start));
    return std::move(report_);
  }

 private:
  static uint64_t since_us(sys::Clock::time_point start) {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(sys::Clock::now() - start).count());
  }

  void look() {
    Obstacles all(Obstacles::Wanted::all);
    const auto start = sys::Clock::now();
    try {
      look_at_tree(options_, caller_, policy_of_look(dump_policy(options_)), outsiders_, sharers_, gpu_users_, all);
    } catch (const ProblemList&) {  // they stand in `all`
    }
    look_us_ = since_us(start);
    Damage none;
    GpuDump gpu(options_, none);
    all.pass([&] { uses_gpu_ = !gpu.look(gpu_users_).empty(); });
    report_.obstacles = all.found();
    report_.warnings = all.warnings();
  }

  void describe() {
    std::vector<HostPid> views;
    std::vector<size_t> places;
    for (const HostPid pid : trace::tree_of(options_.tree)) {
      const HostPid view = trace::living_thread(pid);
      if (!describe_process(pid, view) || !report_.processes.back().is_seen) continue;
      views.push_back(view), places.push_back(report_.processes.size() - 1);
    }
    describe_files(views, places);
    describe_memory(views, places);
  }

  bool describe_process(HostPid pid, HostPid view) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/status", view));
    if (!text) return false;
    const procfs::Status status = procfs::parse_status(*text);
    ProcessReport& process = report_.processes.emplace_back();
    process.pid = pid, process.parent = HostPid(status.ppid);
    process.command = command_of(pid, status);
    process.threads = status.threads;
    process.is_seen = sys::try_list_directory(fmt::format("/proc/{}/fd", view)).has_value() &&
                      sys::try_read_text(fmt::format("/proc/{}/maps", view)).has_value();
    process.avx512_threads = count_avx512(view);
    has_filters_ = has_filters_ || status.seccomp != 0;
    has_timers_ = has_timers_ || !sys::try_read_text(fmt::format("/proc/{}/timers", view)).value_or("").empty();
    report_.amounts.threads += process.threads;
    ++report_.amounts.processes;
    return true;
  }

  void describe_files(const std::vector<HostPid>& views, const std::vector<size_t>& places) {
    kinds::OpenFiles files(dump_policy(options_), outsiders_);
    files.note_members(views);
    files.begin(views);
    std::set<uint64_t> sockets;
    for (size_t i = 0; i < views.size(); ++i) {
      const auto& own = files.views().at(views[i]);
      report_.processes[places[i]].descriptors = static_cast<uint32_t>(own.size());
      report_.amounts.descriptors += own.size();
      for (const kinds::FileView& file : own) {
        const kinds::Kind* kind = kinds::kind_of(file);
        ++report_.descriptors[kind ? kind->name() : "unknown"];
        memory_.add_file(file);
        if (kinds::is_socket(file) && sockets.insert(file.status.st_ino).second)
          describe_socket(files.sockets(), file.status.st_ino, kind ? kind->name() : "socket");
      }
    }
  }

  void describe_socket(const kinds::SocketTable& table, uint64_t inode, const std::string& kind) {
    if (const auto* inet = table.find_inet(inode))
      report_.sockets.push_back(describe_inet(*inet, kind.substr(0, kind.find('_')).c_str()));
    else if (const auto* one = table.find_unix(inode); one && one->name && !one->name->empty())
      report_.sockets.push_back(describe_unix(*one));
  }

  // What ends meanwhile is not counted.
  void describe_memory(const std::vector<HostPid>& views, const std::vector<size_t>& places) {
    const SharedTables tables = shared_tables(views);
    for (size_t i = 0; i < views.size(); ++i) {
      ProcessReport& process = report_.processes[places[i]];
      const auto text = sys::try_read_text(fmt::format("/proc/{}/maps", views[i]));
      const auto mappings = procfs::parse_maps(text.value_or(""));
      process.mappings = static_cast<uint32_t>(mappings.size());
      report_.amounts.mappings += mappings.size();
      if (tables.first(tree::Shared::memory, views[i])) continue;
      try {
        process.private_bytes = memory_.add(views[i], mappings);
      } catch (const Error& error) {
        log::debug("check", "process {}: {}", views[i], error.what());
      }
    }
    memory_.finish(report_.amounts);
  }

  static SharedTables shared_tables(const std::vector<HostPid>& views) {
    try {
      return views.size() > 1 ? SharedTables(views) : SharedTables();
    } catch (const Error&) {
      return {};
    }
  }

  // docs/doctor.md says of each why.
  void note_unseen() {
    auto& unseen = report_.unseen;
    if (has_filters_)
      unseen.emplace_back(
          "it has seccomp filters: whether they let a thread find back from being asked is seen when it "
          "stands still");
    if (has_timers_)
      unseen.emplace_back(
          "it has POSIX timers: whose CPU time one measures, if any does, is seen when it stands still");
    if (report_.descriptors.contains("io_uring"))
      unseen.emplace_back(
          "it has rings of io_uring: whether one is registered with a thread is seen when it stands still");
    if (uses_gpu_) unseen.emplace_back("it uses CUDA: what the driver cannot save, it says when it is asked to");
    unseen.emplace_back(
        "what the kernel shows of a stopped program only, or to nobody but itself: Landlock, keyrings of its own, "
        "local "
        "descriptor tables, I/O ports, a blocking system call dispatch");
    unseen.emplace_back("what waits in sockets and terminals at the moment of the dump");
  }

  void note_rights() {
    const auto need = [&](int capability, const char* name, const char* what) {
      if (!caller_.may(capability)) report_.rights.push_back(fmt::format("{}: {}", name, what));
    };
    need(CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "programs of other users, and such as may not be traced");
    need(CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "seccomp filters; pages that relatives share are stored once");
    if (!caller_.has_checkpoint_right)
      report_.rights.emplace_back(
          "CAP_CHECKPOINT_RESTORE: deleted files that are mapped; the old pids without a pid namespace");
    need(CAP_NET_ADMIN, "CAP_NET_ADMIN", "TCP connections");
    need(CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "the names of what inotify and fanotify watch");
  }

  const DumpOptions& options_;
  const Caller caller_;
  kinds::Outsiders outsiders_;
  MemorySharers sharers_;
  GpuUsers gpu_users_;
  MeasuredMemory memory_;
  TreeReport report_;
  uint64_t look_us_ = 0;
  bool has_filters_ = false, has_timers_ = false, uses_gpu_ = false;
};

}  // namespace

TreeReport examine_tree(const DumpOptions& options) {
  const Step step("pid {}", options.tree);
  const RaisedLimits limits({RLIMIT_NOFILE});
  return TreeExamination(options).run();
}

ImageReport examine_image(const RestoreOptions& options) {
  const images::ImageReader reader(place_of_image(options));
  refuse_memory_only(reader, options);
  const kinds::OpenedFiles files(reader, restore_policy(options));
  const RaisedLimits limits;
  CheckedImage checked(reader, options);
  ImageReport report;
  report.problems = checked.find_problems(files);
  const image::Inventory& inventory = reader.inventory();
  report.root = inventory.root_pid();
  report.host = inventory.host(), report.kernel = inventory.kernel_release();
  report.created_unix_ns = inventory.created_unix_ns();
  report.own_namespaces = checked.place.own_pids;
  for (const tree::ProcessImage& process : checked.processes) {
    if (process.core.pid() == report.root) report.command = process.core.command();
    ++report.processes;
    report.threads += static_cast<uint32_t>(process.threads.size());
    for (const image::PageRun& run : process.runs) report.memory_bytes += run.bytes();
  }
  return report;
}

}  // namespace mcr::engine
