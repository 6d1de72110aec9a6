#include "core/engine/restore_check.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "core/arch/cpu_features.h"
#include "core/arch/xstate.h"
#include "core/engine/count_timers.h"
#include "core/engine/create_tree.h"
#include "core/engine/file_locks_check.h"
#include "core/engine/image_check.h"
#include "core/engine/install_seccomp.h"
#include "core/engine/process_limits.h"
#include "core/engine/rights_check.h"
#include "core/facets/extended_state.h"
#include "core/facets/facet.h"
#include "core/kinds/socket_rights.h"
#include "core/mem/aio_ring.h"
#include "core/mem/vdso.h"
#include "core/mem/vma_flags.h"
#include "core/sys/features.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/process.h"
#include "core/sys/ptrace.h"
#include "core/trace/frozen_tree.h"
#include "images/page_extents.h"
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
                        "end that program, or restore beside it with --new-pids"});
}

// A session or group number that still exists cannot be given to a new process.
void check_ids(const tree::ProcessImage& p, std::vector<Problem>& problems) {
  std::set<pid_t> wanted{p.core.pid()};
  for (const auto& thread : p.threads) wanted.insert(thread.tid());
  const size_t before = problems.size();
  for (const pid_t pid : wanted) check_pid(pid, problems);
  if (problems.size() == before && sys::group_exists(p.core.pid()))
    problems.push_back({fmt::format("pid {}", p.core.pid()), "is still in use as the id of a process group",
                        fmt::format("end the processes of that group (pgrep -g {})", p.core.pid())});
}

std::set<std::string> cpu_flags() {
  std::istringstream text(sys::read_text("/proc/cpuinfo"));
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

void check_numbers(const std::vector<tree::ProcessImage>& processes, const RestoreOptions& options,
                   std::vector<Problem>& problems) {
  for (const pid_t helper : helper_pids(processes, options.shell_job)) check_pid(helper, problems);
  for (const tree::ProcessImage& p : processes) check_ids(p, problems);
}

void check_own_namespaces(const std::vector<tree::ProcessImage>& processes, const RestoreOptions& options,
                          std::vector<Problem>& problems) {
  const char* const remedy =
      options.new_pids ? "restore it without --new-pids"
                       : "CAP_CHECKPOINT_RESTORE is the right that is missing to do without (mini-criu check, "
                         "docs/rights.md)";
  const auto is_first = [](const auto& thread) { return thread.tid() == 1; };
  for (const auto& p : processes)
    if (p.core.pid() == 1 || std::any_of(p.threads.begin(), p.threads.end(), is_first))
      problems.push_back({"pid 1", "is taken in the pid namespace that is made for the program", remedy});
  if (options.sibling)
    problems.push_back({"--restore-sibling", "does not go together with a pid namespace of the program's own", remedy});
}

void check_cpu(const image::Inventory& inventory, const RestoreOptions& options, std::vector<Problem>& problems) {
  if (inventory.architecture() != "x86_64")
    problems.push_back(
        {"image", fmt::format("is of architecture {}", inventory.architecture()), "restore it on such a machine"});
  if (inventory.page_size() != sys::page_size())
    problems.push_back(
        {"image",
         fmt::format("has pages of {} bytes, this kernel of {}", inventory.page_size(), sys::page_size()),
         {}});
  const std::vector<std::string> wanted(inventory.cpu().features().begin(), inventory.cpu().features().end());
  const auto missing = arch::missing_flags(wanted, cpu_flags(), options.cpu);
  if (!missing.empty())
    problems.push_back(
        {"cpu", fmt::format("lacks {}, which the program may have found and be using", fmt::join(missing, ", ")),
         "restore on a CPU that has them, or with --cpu-cap when you know that it does without"});
}

void check_registers(const image::Inventory& inventory, const tree::ProcessImage& p, std::vector<Problem>& problems) {
  for (const auto& thread : p.threads) {
    if (thread.has_ended()) continue;
    const std::string object = fmt::format("thread {}", thread.tid());
    if (thread.registers().size() != sizeof(sys::Registers)) {
      problems.push_back({object, "has registers of another kind of CPU", {}});
      continue;
    }
    try {
      for (std::string& misfit :
           arch::find_misfits(facets::extended_state(thread, inventory.cpu()), arch::host_layout()))
        problems.push_back({object, std::move(misfit), "restore on a CPU that has them"});
    } catch (const Error& e) {
      problems.push_back({object, e.reason(), {}});
    }
  }
}

void check_permissions(const tree::ProcessImage& p, std::vector<Problem>& problems) {
  for (const auto& facet : p.core.facets()) {
    image::ProcessControl message;
    if (!facet.UnpackTo(&message)) continue;
    for (std::string& missing : arch::find_missing_permissions(message.register_permission(), arch::host_xcr0()))
      problems.push_back(
          {fmt::format("process {}", p.core.pid()), std::move(missing), "restore on a CPU that has them"});
  }
}

void check_thread_controls(const tree::ProcessImage& p, std::vector<Problem>& problems) {
  for (const auto& thread : p.threads)
    for (const auto& facet : thread.facets()) {
      image::ThreadControl message;
      if (facet.UnpackTo(&message) && message.faults_cpuid() && !cpu_flags().contains("cpuid_fault"))
        problems.push_back({fmt::format("thread {}", thread.tid()),
                            "has the CPUID instruction turned off (ARCH_SET_CPUID), which this CPU cannot do",
                            "restore on a CPU with CPUID faulting"});
    }
}

void check_seccomp(const tree::ProcessImage& p, std::vector<Problem>& problems) {
  if (SeccompInstallation(p).empty()) return;  // throws when the image is none
  if (!sys::has_capability(CAP_SYS_ADMIN))
    problems.push_back({"seccomp", "cannot be restored without CAP_SYS_ADMIN", "run mini-criu as root"});
  const auto own = procfs::parse_status(sys::read_text("/proc/self/status"));
  if (own.seccomp != 0)
    problems.push_back({"seccomp", "mini-criu is under a filter itself, which the program would inherit",
                        "run mini-criu outside of that sandbox"});
}

// While memory is locked the new process has our rights and our limit.
void check_locks(const tree::ProcessImage& p, std::vector<Problem>& problems) {
  uint64_t bytes = 0;
  for (const auto& vma : p.vmas)
    if (mem::has_vm_flag(vma, "lo")) bytes += vma.end() - vma.start();
  if ((bytes == 0 && p.map.lock_future() == 0) || sys::has_capability(CAP_IPC_LOCK)) return;
  const uint64_t limit = sys::limit_of_self(RLIMIT_MEMLOCK).rlim_cur;
  if (limit >= std::max<uint64_t>(bytes, 1)) return;
  problems.push_back({"locked memory", fmt::format("{} bytes, this shell may lock {}", bytes, limit),
                      "raise the limit before the restore (ulimit -l), or give CAP_IPC_LOCK"});
}

// One more than the highest: the parasite's socket; and those of all processes that share descriptors or memory.
void check_descriptors(const tree::ProcessImage& p, const std::vector<tree::ProcessImage>& processes,
                       std::vector<Problem>& problems) {
  int64_t highest = 0;
  for (const auto& descriptor : p.descriptors) highest = std::max<int64_t>(highest, descriptor.fd());
  highest += std::ranges::count_if(
      processes, [](const auto& q) { return !q.has_own(tree::Shared::files) || !q.has_own(tree::Shared::memory); });
  const rlimit own = sys::limit_of_self(RLIMIT_NOFILE);
  if (static_cast<uint64_t>(highest) + 1 >= own.rlim_cur)
    problems.push_back({fmt::format("descriptor {}", highest),
                        fmt::format("is beyond the limit of open files of this shell, {}", own.rlim_cur),
                        fmt::format("ulimit -n {}", highest + 2)});
}

// Their ids can be chosen since 6.15; before, they are counted up to.
void check_timers(const tree::ProcessImage& p, const RestoreOptions& options, std::vector<Problem>& problems) {
  for (const auto& facet : p.core.facets()) {
    image::PosixTimers timers;
    if (!facet.UnpackTo(&timers)) continue;
    int highest = 0;
    for (const auto& timer : timers.timers()) highest = std::max(highest, timer.id());
    if (highest <= kMostCountedTimers) continue;
    if (sys::KernelFeatures features; options.count_timers || !features.has("timer_restore_ids"))
      problems.push_back({fmt::format("POSIX timer {}", highest), "cannot be given that number by this kernel",
                          "restore on Linux 6.15 or newer"});
  }
}

void check_vdso(const image::Inventory& inventory, const std::vector<tree::ProcessImage>& processes,
                const RestoreOptions& options, std::vector<Problem>& problems) {
  if (!inventory.has_vdso()) return;
  const bool differs = options.redirect_vdso || !mem::is_same_vdso(inventory.vdso());
  const auto ours = procfs::parse_maps(sys::read_text("/proc/self/maps"));
  for (const auto& p : processes) {
    if (!differs && mem::has_same_layout(ours, p.vmas)) continue;
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
}

// Mapped memory is promised at once, by mmap(2), unless its mapping says otherwise ("nr").
void check_huge_pages(const std::vector<tree::ProcessImage>& processes, const kinds::OpenedFiles& files,
                      std::vector<Problem>& problems) {
  std::map<uint32_t, uint64_t> wanted = files.huge_memory();
  for (const auto& p : processes) {
    if (!p.has_own(tree::Shared::memory)) continue;
    for (const auto& vma : p.vmas)
      if ((vma.kind() == image::Vma::PRIVATE_ANONYMOUS || vma.kind() == image::Vma::PRIVATE_FILE) &&
          vma.huge_page_shift() != 0)
        wanted[vma.huge_page_shift()] += mem::has_vm_flag(vma, "nr") ? 0 : vma.end() - vma.start();
    for (const auto& object : p.shared)
      if (object.huge_page_shift() != 0) wanted[object.huge_page_shift()] += object.size();
  }
  for (const auto& [shift, bytes] : wanted) {
    const sys::HugePages pages = sys::huge_pages(shift);
    const std::string object = fmt::format("huge pages of {} KiB", (uint64_t{1} << shift) >> 10);
    const uint64_t count = ((bytes - 1) >> shift) + 1;
    if (!pages.supported)
      problems.push_back({object, "do not exist on this machine", {}});
    else if (bytes != 0 && pages.available < count)
      problems.push_back({object, fmt::format("{} are needed, {} can be had", count, pages.available),
                          "raise nr_hugepages (or nr_overcommit_hugepages) by the difference"});
  }
}

void check_segments(const std::vector<tree::ProcessImage>& processes, const kinds::OpenedFiles& files,
                    std::vector<Problem>& problems) {
  std::set<int> pids;
  for (const tree::ProcessImage& p : processes) {
    pids.insert(p.core.pid());
    for (const auto& vma : p.vmas) {
      if (vma.kind() != image::Vma::SYSV_SEGMENT) continue;
      const auto& segment = files.segments().segment(vma.segment());
      if (!files.find_ghost(segment.ghost()))
        throw Error(Fault::image, fmt::format("files.img: segment {} has no content", segment.id()));
    }
  }
  files.segments().check(pids, problems);
}

void check_session(const image::Inventory& inventory, const RestoreOptions& options, std::vector<Problem>& problems) {
  if (inventory.shell_job() && !options.shell_job)
    problems.push_back({"image", "was made with --shell-job", "give --shell-job to restore it on this terminal"});
}

}  // namespace

void check_host(const image::Inventory& inventory, const std::vector<tree::ProcessImage>& processes,
                const kinds::OpenedFiles& files, const kinds::IpcObjects& ipc, const RestoreOptions& options,
                const Caller& caller, PidPlace place, std::vector<Problem>& problems) {
  check_image(inventory, processes, files);
  if (place.own_pids)
    check_own_namespaces(processes, options, problems);
  else
    check_numbers(processes, options, problems);
  for (const tree::ProcessImage& p : processes) {
    if (p.core.zombie()) continue;
    check_limits(p, problems);
    check_locks(p, problems);
    check_process_control(p, problems);
    check_descriptors(p, processes, problems);
    check_timers(p, options, problems);
    check_registers(inventory, p, problems);
    check_permissions(p, problems);
    check_seccomp(p, problems);
    check_thread_controls(p, problems);
  }
  check_cpu(inventory, options, problems);
  check_vdso(inventory, processes, options, problems);
  check_session(inventory, options, problems);
  check_huge_pages(processes, files, problems);
  for (const tree::ProcessImage& p : processes) mem::check_aio_contexts(p.aio, problems);
  check_rights(processes, files, caller, place.own_user, problems);
  files.check(problems);
  kinds::check_socket_rights(files, problems);
  check_file_locks(processes, files, problems);
  check_segments(processes, files, problems);
  std::set<int> pids;
  for (const tree::ProcessImage& p : processes) pids.insert(p.core.pid());
  ipc.check(pids, problems);
}

bool are_numbers_taken(const std::vector<tree::ProcessImage>& processes, const RestoreOptions& options) {
  std::vector<Problem> problems;
  check_numbers(processes, options, problems);
  return !problems.empty();
}

}  // namespace mcr::engine
