#include "core/engine/rights_check.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/rights.h"
#include "images/proto/facets.pb.h"

namespace mcr::engine {
namespace {

constexpr uint32_t kDeadline = 6, kRealTimeClass = 1;  // SCHED_DEADLINE, IOPRIO_CLASS_RT

// What one process or thread asks for, compared with what the caller has.
class RightsCheck {
 public:
  RightsCheck(const Caller& caller, bool own_namespaces, std::vector<Problem>& problems)
      : caller_(caller), own_namespaces_(own_namespaces), problems_(problems) {}

  void check_thread(const image::ThreadCore& thread) {
    object_ = fmt::format("thread {}", thread.tid());
    int credentials = 0;
    for (const auto& facet : thread.facets()) {
      image::Credentials ids;
      image::Scheduling scheduling;
      if (facet.UnpackTo(&ids))
        ++credentials, check_ids(ids), check_capabilities(ids);
      else if (facet.UnpackTo(&scheduling))
        check_scheduling(scheduling);
    }
    if (credentials != 1)
      add(fmt::format("has {} records of its user and capabilities", credentials),
          "the image is damaged or was made by a faulty program");
  }

  void check_process(const image::ProcessCore& core) {
    object_ = fmt::format("process {}", core.pid());
    for (const auto& facet : core.facets()) {
      image::ProcessControl control;
      if (!facet.UnpackTo(&control)) continue;
      if (control.io_flusher() != 0) need(CAP_SYS_RESOURCE, "was an I/O flusher (PR_SET_IO_FLUSHER)");
      if (control.has_autogroup_nice() && control.autogroup_nice() < 0 &&
          static_cast<uint64_t>(20 - control.autogroup_nice()) > sys::limit_of_self(RLIMIT_NICE).rlim_cur)
        need_outside(CAP_SYS_NICE, fmt::format("had scheduling group nice value {}", control.autogroup_nice()));
    }
  }

  void check_root(pid_t pid, const std::string& root) {
    object_ = fmt::format("process {}", pid);
    if (root != "/" && !own_namespaces_) need(CAP_SYS_CHROOT, fmt::format("had the root folder {}", root));
  }

  // The kernel asks for it in the first user namespace (proc(5), map_files).
  void check_shared_memory(pid_t pid) {
    object_ = fmt::format("process {}", pid);
    if (!caller_.has_checkpoint_right)
      add("shares anonymous memory with another process, which is handed on through /proc/PID/map_files",
          "CAP_CHECKPOINT_RESTORE is the right that is missing: restore as root, or see docs/rights.md");
  }

  void check_deleted_file(const std::string& path, uint32_t uid, uint32_t gid) {
    object_ = path;
    const auto& own = caller_.status;
    const bool group =
        gid == own.gid[3] || (!own_namespaces_ && std::ranges::find(own.groups, gid) != own.groups.end());
    if (uid != own.uid[3] || !group)
      need(CAP_CHOWN, fmt::format("is a deleted file of user {} and group {}", uid, gid));
  }

 private:
  void add(const std::string& reason, const std::string& remedy) {
    const bool known = std::any_of(problems_.begin(), problems_.end(),
                                   [&](const Problem& p) { return p.object == object_ && p.reason == reason; });
    if (!known) problems_.push_back({object_, reason, remedy});
  }

  // In namespaces of their own nobody can have rights over what lies outside.
  void need(int capability, const std::string& reason) {
    if (caller_.may(capability) && !own_namespaces_) return;
    add(reason, fmt::format("{} is the right that is missing: restore as root, or see docs/rights.md",
                            sys::capability_name(capability)));
  }

  bool is_own(const std::array<uint32_t, 4>& own, std::initializer_list<uint32_t> wanted) const {
    return std::ranges::all_of(
        wanted, [&](uint32_t id) { return std::find(own.begin(), own.begin() + 3, id) != own.begin() + 3; });
  }

  void check_ids(const image::Credentials& m) {
    const auto& own = caller_.status;
    if (!is_own(own.uid, {m.uid(), m.euid(), m.suid(), m.fsuid()}))
      need(CAP_SETUID, fmt::format("belonged to user {} (effective {}, saved {}, for files {}), mini-criu runs as {}",
                                   m.uid(), m.euid(), m.suid(), m.fsuid(), own.uid[0]));
    if (!is_own(own.gid, {m.gid(), m.egid(), m.sgid(), m.fsgid()}))
      need(CAP_SETGID, fmt::format("belonged to group {} (effective {}, saved {}, for files {}), mini-criu runs as {}",
                                   m.gid(), m.egid(), m.sgid(), m.fsgid(), own.gid[0]));
    const std::set<uint32_t> wanted(m.groups().begin(), m.groups().end()), had(own.groups.begin(), own.groups.end());
    if (wanted != had) need(CAP_SETGID, "was in other supplementary groups than mini-criu");
  }

  void check_capabilities(const image::Credentials& m) {
    const uint64_t wanted = m.cap_permitted() | m.cap_effective() | m.cap_inheritable() | m.cap_ambient();
    const uint64_t can_have = own_namespaces_ ? 0 : caller_.capabilities();
    if (const uint64_t more = wanted & ~can_have)
      add(fmt::format("had capabilities that mini-criu's caller lacks: {}", sys::capability_names(more)),
          "restore as a user who has them");
    if (own_namespaces_) return;
    if (m.securebits() != caller_.securebits)
      need(CAP_SETPCAP, fmt::format("had securebits {:#x}, mini-criu has {:#x}", m.securebits(), caller_.securebits));
    if (caller_.status.cap_bounding & ~m.cap_bounding())
      need(CAP_SETPCAP, "had a smaller capability bounding set than mini-criu");
    if (const uint64_t more = m.cap_bounding() & ~caller_.status.cap_bounding)
      log::warning("rights", "{}: not in its capability bounding set any more: {}", object_,
                   sys::capability_names(more));
  }

  void check_scheduling(const image::Scheduling& m) {
    const sys::SchedAttr own = sys::scheduling_of(HostTid(sys::own_pid().get()));
    const bool real_time = m.policy() == SCHED_FIFO || m.policy() == SCHED_RR;
    if (m.policy() == kDeadline || (real_time && m.priority() > sys::limit_of_self(RLIMIT_RTPRIO).rlim_cur))
      need_outside(CAP_SYS_NICE, fmt::format("had real-time policy {} with priority {}", m.policy(), m.priority()));
    if (m.nice() < own.nice && static_cast<uint64_t>(20 - m.nice()) > sys::limit_of_self(RLIMIT_NICE).rlim_cur)
      need_outside(CAP_SYS_NICE, fmt::format("had nice value {}, mini-criu has {}", m.nice(), own.nice));
    if (static_cast<uint32_t>(m.ioprio()) >> 13 == kRealTimeClass)
      need_outside(CAP_SYS_NICE, "had real-time I/O priority");
  }

  // What the kernel allows by the first user namespace only.
  void need_outside(int capability, const std::string& reason) {
    if (!caller_.may(capability)) need(capability, reason);
  }

  const Caller& caller_;
  bool own_namespaces_;
  std::vector<Problem>& problems_;
  std::string object_;
};

}  // namespace

void check_rights(const std::vector<tree::ProcessImage>& processes, const kinds::OpenedFiles& files,
                  const Caller& caller, bool own_namespaces, std::vector<Problem>& problems) {
  RightsCheck check(caller, own_namespaces, problems);
  for (const tree::ProcessImage& p : processes) {
    if (p.threads.empty()) continue;
    check.check_process(p.core);
    if (!p.borrowed.empty()) check.check_shared_memory(p.core.pid());
    for (const auto& thread : p.threads) check.check_thread(thread);
    image::RegularFile root;
    if (files.object(p.fs.root_file()).body().UnpackTo(&root)) check.check_root(p.core.pid(), root.path());
  }
  files.for_each_ghost(
      [&](const image::Ghost& ghost) { check.check_deleted_file(ghost.path(), ghost.uid(), ghost.gid()); });
}

}  // namespace mcr::engine
