#include "core/sys/features.h"

#include <linux/capability.h>

#include <algorithm>
#include <array>

#include "core/base/error.h"
#include "core/sys/features_probe.h"
#include "core/sys/ptrace.h"

namespace mcr::sys {
namespace {

struct Entry {
  std::string_view name;
  bool required;
  probe::Finding (*find)();
  std::string_view since, needed_for, remedy;
};

constexpr std::string_view kAllowPtrace =
    "run as root or with CAP_SYS_PTRACE; in a container, allow ptrace in its seccomp profile";
constexpr std::string_view kNewerKernel = "use a newer kernel";
constexpr std::string_view kCheckpointConfig = "use a kernel with CONFIG_CHECKPOINT_RESTORE";
constexpr std::string_view kAllowUserfaultfd =
    "run as root, or set vm.unprivileged_userfaultfd=1; the kernel must have CONFIG_USERFAULTFD";
constexpr std::string_view kGiveCapability =
    "run as root, or by setpriv or a service with that ambient capability (docs/rights.md)";
constexpr std::string_view kSetCapability =
    "run as root, or give it to the program: setcap cap_checkpoint_restore+ep (docs/rights.md)";

template <int Number>
probe::Finding capability() {
  return probe::capability(Number);
}

constexpr auto kEntries = std::to_array<Entry>({
    {"ptrace_seize", true, probe::ptrace_seize, "3.4", "stopping a program", kAllowPtrace},
    {"ptrace_peeksiginfo", true, probe::ptrace_peeksiginfo, "3.10", "pending signals", kNewerKernel},
    {"ptrace_rseq", true, probe::ptrace_rseq_configuration, "5.13", "restartable sequences (rseq)", kNewerKernel},
    {"ptrace_xstate", true, probe::ptrace_xstate, "2.6.34", "floating point and vector registers", kNewerKernel},
    {"process_vm_readv", true, probe::process_vm_read, "3.2", "reading memory",
     "use a kernel with CONFIG_CROSS_MEMORY_ATTACH, and allow the call in the container's seccomp profile"},
    {"proc_mem_write", true, probe::proc_mem_write, "2.6.39", "putting code into a stopped program",
     "boot without proc_mem.force_override=never"},
    {"pidfd_open", true, probe::pidfd, "5.3", "naming a process without races", kNewerKernel},
    {"pidfd_getfd", true, probe::pidfd_get_fd, "5.6", "taking descriptors of a stopped program", kNewerKernel},
    {"kcmp", true, probe::compare_by_kcmp, "3.5", "telling which descriptors share one open file",
     "use a kernel with CONFIG_KCMP, and allow the call in the container's seccomp profile"},
    {"clone3_set_tid", true, probe::clone3_set_tid, "5.5", "giving restored processes their old pids",
     "give CAP_CHECKPOINT_RESTORE, or allow user namespaces (docs/rights.md)"},
    {"set_mm_map", true, probe::prctl_set_mm_map, "3.18", "arguments, environment and heap end of a restored program",
     kCheckpointConfig},
    {"map_files", false, probe::map_files, "3.3", "removed files and shared memory that only a mapping leads to",
     "give CAP_CHECKPOINT_RESTORE (docs/rights.md)"},
    {"timer_list", false, probe::timer_list, "2.6.21", "the remaining time of sleeps with a relative time limit",
     "give CAP_DAC_READ_SEARCH, or run as root; else a sleep that was interrupted once begins again"},
    {"pagemap_scan", false, probe::pagemap_scan, "6.7", "quick page selection and incremental dumps", kNewerKernel},
    {"userfaultfd", false, probe::userfaultfd, "4.3", "lazy restore and incremental dumps", kAllowUserfaultfd},
    {"userfaultfd_wp_async", false, probe::userfaultfd_wp_async, "6.7", "incremental dumps without soft-dirty bits",
     kNewerKernel},
    {"userfaultfd_move", false, probe::userfaultfd_move, "6.8", "lazy restore without copying", kNewerKernel},
    {"soft_dirty", false, probe::soft_dirty, "3.11", "incremental dumps before 6.7",
     "nothing to do where userfaultfd_wp_async is available; else use a kernel with CONFIG_MEM_SOFT_DIRTY"},
    {"timer_restore_ids", false, probe::prctl_timer_restore_ids, "6.15", "quick and exact restore of POSIX timers",
     "nothing to do, unless a program has made more than a million such timers; else use a newer kernel"},
    {"get_tid_address", true, probe::prctl_get_tid_address, "3.5", "the address cleared when a thread ends",
     kCheckpointConfig},
    {"tee_splice", true, probe::tee_and_splice, "2.6.17", "what lies in pipes", kNewerKernel},
    {"memfd_create", true, probe::memory_file, "3.17", "memory files and handing over data", kNewerKernel},
    {"proc_timers", true, probe::proc_timers, "3.10", "POSIX timers", kCheckpointConfig},
    {"user_namespaces", false, probe::user_namespaces, "3.8", "restore without root",
     "set user.max_user_namespaces above 0 (and kernel.unprivileged_userns_clone=1 where it exists)"},
    {"proc_sched", false, probe::proc_sched, "2.6.23", "telling whether a thread has run",
     "use a kernel with CONFIG_SCHED_DEBUG"},
    {"transparent_huge_pages", false, probe::transparent_huge_pages, "2.6.38", "quick restore of large memory",
     "write madvise to /sys/kernel/mm/transparent_hugepage/enabled"},
    {"yama_ptrace_scope", false, probe::yama_ptrace_scope, "3.4", "programs that are not our descendants",
     "set kernel.yama.ptrace_scope=0, or run with CAP_SYS_PTRACE"},
    {"cap_sys_ptrace", false, capability<CAP_SYS_PTRACE>, "", "programs of other users, undumpable ones",
     kGiveCapability},
    {"cap_sys_admin", false, capability<CAP_SYS_ADMIN>, "", "namespaces, mounts and seccomp filters", kGiveCapability},
    {"cap_checkpoint_restore", false, capability<CAP_CHECKPOINT_RESTORE>, "5.9",
     "old pids without a namespace of their own, map_files", kSetCapability},
    {"cap_sys_resource", false, capability<CAP_SYS_RESOURCE>, "", "raising limits above the hard limit",
     kGiveCapability},
    {"cap_setuid", false, capability<CAP_SETUID>, "", "restoring programs of other users", kGiveCapability},
    {"cap_setgid", false, capability<CAP_SETGID>, "", "restoring programs of other groups", kGiveCapability},
    {"cap_sys_chroot", false, capability<CAP_SYS_CHROOT>, "", "programs with a root of their own", kGiveCapability},
    {"cgroups", false, probe::cgroups, "", "control groups", "mount cgroup2 at /sys/fs/cgroup"},
    {"io_uring", false, probe::io_uring, "5.1", "programs that use io_uring", "set kernel.io_uring_disabled=0"},
    // By the names that CRIU gives them, as scripts ask for them.
    {"aio_remap", false, probe::asynchronous_io, "3.19", "contexts of asynchronous I/O", kNewerKernel},
    {"fdinfo_lock", false, probe::locks_in_fdinfo, "4.1", "file locks", kNewerKernel},
    {"mnt_id", false, probe::mount_in_fdinfo, "3.15", "files on mounts that lie over others", kNewerKernel},
    {"timerfd", false, probe::clock_in_fdinfo, "3.17", "timerfd", kNewerKernel},
    {"loginuid", false, probe::login_uid, "2.6.11", "login uids", "use a kernel with CONFIG_AUDIT"},
    {"memfd_hugetlb", false, probe::huge_memory_file, "4.16", "memfds on huge pages", kNewerKernel},
    {"kcmp_epoll", false, probe::compare_epoll_targets, "4.13", "epoll with duplicated descriptors", kNewerKernel},
    {"seccomp_filters", false, probe::seccomp_filter_mode, "4.14", "programs with seccomp filters", kNewerKernel},
    {"seccomp_suspend", false, probe::suspended_seccomp, "4.3", "programs with seccomp filters", kGiveCapability},
    {"sockopt_buf_lock", false, probe::locked_socket_buffers, "5.14", "fixed sizes of socket buffers", kNewerKernel},
    {"network_lock_nftables", false, probe::packet_filter, "3.13", "TCP connections with others",
     "use a kernel with CONFIG_NF_TABLES"},
    {"tcp_half_closed", false, probe::tcp_repair, "3.5", "open TCP connections", kGiveCapability},
    {"ipv6_freebind", false, probe::foreign_addresses, "4.15", "sockets of addresses that the host lacks",
     kNewerKernel},
    {"net_diag_raw", false, probe::raw_sockets, "", "raw sockets", kGiveCapability},
    {"get_rseq_conf", false, probe::ptrace_rseq_configuration, "5.13", "restartable sequences (rseq)", kNewerKernel},
    {"userns", false, probe::user_namespaces, "3.8", "restore without root", "allow user namespaces"},
});

Feature try_out(const Entry& entry) {
  const ChildSignal quiet;
  probe::Finding finding;
  try {
    finding = entry.find();
  } catch (const Error& error) {
    finding = probe::no(error.reason());
  }
  return {std::string(entry.name),   finding.available,
          std::move(finding.why),    std::move(finding.detail),
          std::string(entry.since),  std::string(entry.needed_for),
          std::string(entry.remedy), entry.required};
}

}  // namespace

std::vector<std::string_view> feature_names() {
  std::vector<std::string_view> names;
  for (const Entry& entry : kEntries) names.push_back(entry.name);
  return names;
}

std::vector<Feature> probe_features() {
  std::vector<Feature> features;
  for (const Entry& entry : kEntries) features.push_back(try_out(entry));
  return features;
}

Feature probe_feature(std::string_view name) {
  const auto* entry = std::find_if(kEntries.begin(), kEntries.end(), [&](const Entry& e) { return e.name == name; });
  if (entry == kEntries.end()) throw Error(Fault::internal, fmt::format("no kernel feature is called {}", name));
  return try_out(*entry);
}

bool can_dump_and_restore(const std::vector<Feature>& features) {
  return std::all_of(features.begin(), features.end(), [](const Feature& f) { return f.available || !f.required; });
}

const Feature& KernelFeatures::get(std::string_view name) {
  const auto found = known_.find(name);
  if (found != known_.end()) return found->second;
  return known_.emplace(name, probe_feature(name)).first->second;
}

}  // namespace mcr::sys
