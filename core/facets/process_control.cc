// Attributes of a process that prctl(2) and membarrier(2) set, and files of /proc that stand for some.
#include <linux/membarrier.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <charconv>
#include <chrono>
#include <system_error>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/facets/factories.h"
#include "core/facets/value_check.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65  // 6.3
#define PR_GET_MDWE 66
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67  // 6.4
#define PR_GET_MEMORY_MERGE 68
#endif
constexpr uint64_t kTimerRestoreIds = 77;    // PR_TIMER_CREATE_RESTORE_IDS, 6.15: 0 off, 1 on, 2 which
constexpr uint64_t kGetPermission = 0x1022;  // ARCH_GET_XCOMP_PERM, 5.16; EINVAL before
constexpr uint64_t kGetRegistrations = 512;  // MEMBARRIER_CMD_GET_REGISTRATIONS, 6.3
constexpr uint32_t kRegistrations =
    MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ;
// What PR_SET_IO_FLUSHER sets (kernel/sys.c). PR_GET_IO_FLUSHER wants CAP_SYS_RESOURCE of the program; the flags are
// shown to everybody in /proc/PID/stat.
constexpr uint32_t kIoFlusherFlags = 0x00080000 | 0x00100000;  // PF_MEMALLOC_NOIO, PF_LOCAL_THROTTLE

std::optional<int64_t> try_number(HostPid pid, const char* file, int base) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/{}", pid, file));
  if (!text) return std::nullopt;
  int64_t value = 0;
  const auto end = std::from_chars(text->data(), text->data() + text->size(), value, base);
  return end.ec == std::errc() ? std::optional(value) : std::nullopt;
}

// "/autogroup-123 nice 5"; empty for a process without one.
std::optional<int32_t> autogroup_nice(HostPid pid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/autogroup", pid));
  constexpr std::string_view kWord = " nice ";
  const size_t at = text ? text->find(kWord) : std::string::npos;
  if (at == std::string::npos) return std::nullopt;
  int32_t nice = 0;
  std::from_chars(text->data() + at + kWord.size(), text->data() + text->size(), nice);
  return nice;
}

uint32_t at_least_zero(int64_t result) {
  return static_cast<uint32_t>(std::max<int64_t>(result, 0));
}

// A registration cannot be undone, and a command that was not registered is refused with EPERM: before 6.3 this tells.
// MEMBARRIER_CMD_GLOBAL_EXPEDITED is allowed to everybody; to be a target of it cannot be found out.
constexpr struct {
  uint32_t command, registration;
} kExpedited[] = {
    {MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED},
    {MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE},
    {MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ},
};

class ProcessControlFacet : public ProcessFacet {
 public:
  void ask(inject::Batch& batch, const ProcessView&) override {
    subreaper_ = batch.reserve(8);
    dumpable_ = batch.try_add("prctl(PR_GET_DUMPABLE)", SYS_prctl, {PR_GET_DUMPABLE});
    thp_ = batch.try_add("prctl(PR_GET_THP_DISABLE)", SYS_prctl, {PR_GET_THP_DISABLE, 0, 0, 0, 0});
    mdwe_ = batch.try_add("prctl(PR_GET_MDWE)", SYS_prctl, {PR_GET_MDWE, 0, 0, 0, 0});
    merge_ = batch.try_add("prctl(PR_GET_MEMORY_MERGE)", SYS_prctl, {PR_GET_MEMORY_MERGE, 0, 0, 0, 0});
    mce_ = batch.try_add("prctl(PR_MCE_KILL_GET)", SYS_prctl, {PR_MCE_KILL_GET, 0, 0, 0, 0});
    restore_ids_ = batch.try_add("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, {kTimerRestoreIds, 2, 0, 0, 0});
    batch.try_add("prctl(PR_GET_CHILD_SUBREAPER)", SYS_prctl, {PR_GET_CHILD_SUBREAPER, subreaper_.get()});
    permission_ = batch.reserve(8);
    batch.try_add("arch_prctl(ARCH_GET_XCOMP_PERM)", SYS_arch_prctl, {kGetPermission, permission_.get()});
    registrations_ = batch.try_add("membarrier", SYS_membarrier, {kGetRegistrations, 0, 0});
    for (size_t i = 0; i < std::size(kExpedited); ++i)
      expedited_[i] = batch.try_add("membarrier", SYS_membarrier, {kExpedited[i].command, 0, 0});
  }

  void collect(const inject::Batch& batch, const ProcessView& view, google::protobuf::Any& out) override {
    const auto stat = procfs::parse_stat(sys::read_text(fmt::format("/proc/{}/stat", view.pid)));
    image::ProcessControl message;
    message.set_dumpable(static_cast<int32_t>(at_least_zero(batch.result(dumpable_))));
    message.set_thp_disable(batch.result(thp_) > 0);
    message.set_thp_disable_flags(at_least_zero(batch.result(thp_)) & ~1u);
    message.set_mdwe(at_least_zero(batch.result(mdwe_)));
    message.set_memory_merge(batch.result(merge_) > 0);
    message.set_mce_kill(at_least_zero(batch.result(mce_) + 1));
    message.set_timer_restore_ids(batch.result(restore_ids_) == 1);
    message.set_io_flusher((stat.flags & kIoFlusherFlags) == kIoFlusherFlags);
    message.set_child_subreaper(batch.get<int32_t>(subreaper_) != 0);
    message.set_membarrier(registrations(batch));
    message.set_register_permission(batch.get<uint64_t>(permission_));
    message.set_coredump_filter(static_cast<uint32_t>(try_number(view.pid, "coredump_filter", 16).value_or(0)));
    message.set_oom_score_adj(static_cast<int32_t>(try_number(view.pid, "oom_score_adj", 10).value_or(0)));
    if (const auto nice = autogroup_nice(view.pid); nice && stat.session == view.status.tgid)
      message.set_autogroup_nice(*nice);
    if (const auto uid = try_number(view.pid, "loginuid", 10)) message.set_login_uid(static_cast<uint32_t>(*uid));
    out.PackFrom(message);
  }

  void check(const google::protobuf::Any& from) const override {
    image::ProcessControl m;
    if (!from.UnpackTo(&m)) return;
    require_value(m.dumpable() >= 0 && m.dumpable() <= 2, "dumpable", m.dumpable());
    require_value(m.mdwe() <= 3, "mdwe", m.mdwe());
    require_value(m.io_flusher() >= 0 && m.io_flusher() <= 1, "io_flusher", m.io_flusher());
    require_value(m.coredump_filter() <= 0x1ff, "coredump_filter", m.coredump_filter());
    require_value(m.oom_score_adj() >= -1000 && m.oom_score_adj() <= 1000, "oom_score_adj", m.oom_score_adj());
  }

  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::ProcessControl message;
    if (!from.UnpackTo(&message)) return false;
    set_early(message, plan);
    set_dumpable(message, plan);
    if (message.mdwe() != 0) plan.last.add("prctl(PR_SET_MDWE)", SYS_prctl, {PR_SET_MDWE, message.mdwe(), 0, 0, 0});
    write_files(message, plan);
    return true;
  }

 private:
  uint32_t registrations(const inject::Batch& batch) const {
    if (batch.result(registrations_) >= 0) return static_cast<uint32_t>(batch.result(registrations_)) & kRegistrations;
    uint32_t all = 0;
    for (size_t i = 0; i < std::size(kExpedited); ++i)
      if (batch.result(expedited_[i]) == 0) all |= kExpedited[i].registration;
    return all;
  }

  // The new process has what the engine has of these, so that "off" is set too.
  static void set_early(const image::ProcessControl& message, ProcessPlan& plan) {
    const auto set = [&](const char* what, bool needed, uint64_t option, uint64_t a, uint64_t b) {
      plan.early.add(what, SYS_prctl, {option, a, b, 0, 0}, needed ? 0 : uint32_t{parasite::kMayFail});
    };
    set("prctl(PR_SET_CHILD_SUBREAPER)", message.child_subreaper(), PR_SET_CHILD_SUBREAPER, message.child_subreaper(),
        0);
    set("prctl(PR_SET_THP_DISABLE)", message.thp_disable(), PR_SET_THP_DISABLE, message.thp_disable(),
        message.thp_disable() ? message.thp_disable_flags() : 0);
    set("prctl(PR_SET_IO_FLUSHER)", message.io_flusher() != 0, PR_SET_IO_FLUSHER, message.io_flusher() != 0, 0);
    set("prctl(PR_SET_MEMORY_MERGE)", message.memory_merge(), PR_SET_MEMORY_MERGE, message.memory_merge(), 0);
    // Before the other threads are made: the kernel keeps it per thread, new ones have that of their maker.
    if (message.mce_kill() != 0)
      set("prctl(PR_MCE_KILL)", message.mce_kill() - 1 != PR_MCE_KILL_DEFAULT, PR_MCE_KILL, PR_MCE_KILL_SET,
          message.mce_kill() - 1);
    if (message.membarrier() & ~kRegistrations)
      throw Error(Fault::image, fmt::format("membarrier registrations {:#x}", message.membarrier()));
    for (uint32_t bit = 1; bit != 0 && bit <= message.membarrier(); bit <<= 1)
      if (message.membarrier() & bit) plan.early.add("membarrier", SYS_membarrier, {bit, 0, 0});
    if (message.timer_restore_ids())
      plan.last.add("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, {kTimerRestoreIds, 1, 0, 0, 0});
  }

  // A change of credentials leaves what fs.suid_dumpable says. 2 cannot be asked for: it is what such a change leaves
  // when that setting is 2, also one that is taken back at once. Otherwise 0, which differs in core files for root
  // only.
  static void set_dumpable(const image::ProcessControl& message, ProcessPlan& plan) {
    auto value = static_cast<uint64_t>(message.dumpable());
    if (value == 2) {
      const auto setting = sys::try_read_text("/proc/sys/fs/suid_dumpable");
      if (setting && setting->starts_with('2')) {
        const uint64_t own = plan.own.uid[3];
        plan.early.add("setfsuid", SYS_setfsuid, {own + 1});
        plan.early.add("setfsuid", SYS_setfsuid, {own});
        return;
      }
      log::warning("state",
                   "process {} was undumpable but for root (2), which fs.suid_dumpable does not allow: it is 0",
                   plan.host);
      value = 0;
    }
    plan.last.add("prctl(PR_SET_DUMPABLE)", SYS_prctl, {PR_SET_DUMPABLE, value, 0, 0, 0});
  }

  // Without CAP_SYS_ADMIN the kernel takes one such change in a tenth of a second, of all users together
  // (kernel/sched/autogroup.c).
  static void write_autogroup(const std::string& path, int32_t nice) {
    for (int tries = 0;; ++tries) {
      try {
        return sys::write_file(path, fmt::format("{}", nice));
      } catch (const Error& error) {
        if (error.code() != static_cast<int>(std::errc::resource_unavailable_try_again) || tries == 50) throw;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    }
  }

  static void write_files(const image::ProcessControl& message, const ProcessPlan& plan) {
    const auto path = [&](const char* file) { return fmt::format("/proc/{}/{}", plan.host, file); };
    const HostPid made = plan.host;
    if (message.coredump_filter() != try_number(made, "coredump_filter", 16))
      sys::write_file(path("coredump_filter"), fmt::format("{:#x}", message.coredump_filter()));
    if (message.oom_score_adj() != try_number(made, "oom_score_adj", 10))
      sys::write_file(path("oom_score_adj"), fmt::format("{}", message.oom_score_adj()));
    if (message.has_autogroup_nice() &&
        autogroup_nice(made).value_or(message.autogroup_nice()) != message.autogroup_nice())
      write_autogroup(path("autogroup"), message.autogroup_nice());
  }

  RemoteAddr subreaper_, permission_;
  size_t dumpable_ = 0, thp_ = 0, mdwe_ = 0, merge_ = 0, mce_ = 0, restore_ids_ = 0, registrations_ = 0;
  size_t expedited_[std::size(kExpedited)]{};
};

}  // namespace

std::unique_ptr<ProcessFacet> make_process_control() {
  return std::make_unique<ProcessControlFacet>();
}

}  // namespace mcr::facets
