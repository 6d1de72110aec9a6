#include "core/engine/restore_check.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "core/arch/xstate.h"
#include "core/mem/vdso.h"
#include "core/sys/features.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/ptrace.h"
#include "core/trace/frozen_tree.h"
#include "images/proto/facets.pb.h"

namespace mcr::engine {
namespace {

void check_pid(pid_t wanted, std::vector<Problem>& problems) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", wanted));
  if (!text) return;
  const auto status = procfs::parse_status(sys::try_read_text(fmt::format("/proc/{}/status", wanted)).value_or(""));
  const std::string object = fmt::format("pid {}", wanted);
  if (status.state == 'Z')
    problems.push_back(
        {object,
         fmt::format("is held by the zombie of {}, which its parent {} has not collected",
                     trace::describe_process(HostPid(wanted)), trace::describe_process(HostPid(status.ppid))),
         "end that parent, or let it wait for its child"});
  else if (status.tgid != wanted)
    problems.push_back({object, fmt::format("is held by a thread of {}", trace::describe_process(HostPid(status.tgid))),
                        "end that program"});
  else
    problems.push_back({object, fmt::format("is held by {}", trace::describe_process(HostPid(wanted))),
                        "end that program, or restore in another pid namespace"});
}

// A session or group number that still exists cannot be given to a new process.
void check_ids(const tree::ProcessImage& p, std::vector<Problem>& problems) {
  std::set<pid_t> wanted;
  for (const auto& thread : p.threads) wanted.insert(thread.tid());
  const size_t before = problems.size();
  for (const pid_t pid : wanted) check_pid(pid, problems);
  if (problems.size() == before && sys::group_exists(p.core.pid()))
    problems.push_back({fmt::format("pid {}", p.core.pid()), "is still in use as the id of a process group",
                        fmt::format("end the processes of that group (pgrep -g {})", p.core.pid())});
}

void check_cpu(const image::Inventory& inventory, const std::vector<tree::ProcessImage>& processes,
               std::vector<Problem>& problems) {
  if (inventory.architecture() != "x86_64")
    problems.push_back(
        {"image", fmt::format("is of architecture {}", inventory.architecture()), "restore it on such a machine"});
  if (inventory.page_size() != sys::page_size())
    problems.push_back(
        {"image",
         fmt::format("has pages of {} bytes, this kernel of {}", inventory.page_size(), sys::page_size()),
         {}});
  const std::string text = sys::read_text("/proc/cpuinfo");
  const size_t at = text.find("\nflags");
  std::string flags = text.substr(at, text.find('\n', at + 1) - at) + " ";
  std::string missing;
  for (const std::string& feature : inventory.cpu().features())
    if (flags.find(" " + feature + " ") == std::string::npos) missing += (missing.empty() ? "" : ", ") + feature;
  if (!missing.empty())
    problems.push_back({"cpu", fmt::format("lacks {}, which the program may have found and be using", missing),
                        "restore on a CPU that has them"});
  uint64_t used = 0;
  for (const auto& p : processes)
    for (const auto& thread : p.threads) used |= arch::used_components(thread.xstate());
  (void)used;
}

void check_limits(const tree::ProcessImage& p, std::vector<Problem>& problems) {
  if (sys::has_capability(CAP_SYS_RESOURCE)) return;
  for (const auto& facet : p.core.facets()) {
    image::ResourceLimits limits;
    if (!facet.UnpackTo(&limits)) continue;
    for (const auto& limit : limits.limits()) {
      const rlimit own = sys::limit_of_self(limit.resource());
      if (own.rlim_max >= limit.hard()) continue;
      problems.push_back({fmt::format("resource limit {}", limit.resource()),
                          fmt::format("was {}, this shell may have at most {}", limit.hard(), own.rlim_max),
                          "raise the hard limit before the restore (ulimit -H), or give CAP_SYS_RESOURCE"});
    }
  }
}

// Their ids can be chosen since 6.15.
void check_timers(const tree::ProcessImage& p, std::vector<Problem>& problems) {
  for (const auto& facet : p.core.facets()) {
    image::PosixTimers timers;
    if (!facet.UnpackTo(&timers) || timers.timers().empty()) continue;
    if (sys::KernelFeatures features; !features.has("timer_restore_ids"))
      problems.push_back(
          {"POSIX timers", "this kernel cannot give them their old ids", "restore on Linux 6.15 or newer"});
  }
}

void check_vdso(const image::Inventory& inventory, const std::vector<tree::ProcessImage>& processes,
                const RestoreOptions& options, std::vector<Problem>& problems) {
  if (!inventory.has_vdso() || (!options.redirect_vdso && mem::is_same_vdso(inventory.vdso()))) return;
  for (const auto& p : processes)
    for (const auto& thread : p.threads) {
      sys::Registers registers{};
      if (thread.registers().size() != sizeof registers) continue;
      std::memcpy(&registers, thread.registers().data(), sizeof registers);
      const uint64_t offset = registers.rip - p.map.vdso_address();
      if (p.map.vdso_address() != 0 && offset < inventory.vdso().size())
        problems.push_back({fmt::format("thread {}", thread.tid()), "was inside the vdso of another kernel",
                            "dump it once more, a moment later"});
    }
}

void check_session(const image::Inventory& inventory, const RestoreOptions& options, std::vector<Problem>& problems) {
  if (inventory.shell_job() && !options.shell_job)
    problems.push_back({"image", "was made with --shell-job", "give --shell-job to restore it on this terminal"});
}

}  // namespace

void check_host(const image::Inventory& inventory, const std::vector<tree::ProcessImage>& processes,
                const kinds::OpenedFiles& files, const RestoreOptions& options, std::vector<Problem>& problems) {
  for (const tree::ProcessImage& p : processes) {
    check_ids(p, problems);
    check_limits(p, problems);
    check_timers(p, problems);
    for (const auto& thread : p.threads)
      if (thread.registers().size() != sizeof(sys::Registers) || thread.xstate().size() < 576)
        problems.push_back({fmt::format("thread {}", thread.tid()), "has registers of another kind of CPU", {}});
  }
  check_cpu(inventory, processes, problems);
  check_vdso(inventory, processes, options, problems);
  check_session(inventory, options, problems);
  files.check(problems);
}

}  // namespace mcr::engine
