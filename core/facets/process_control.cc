// Attributes of a process that prctl(2) sets, and two files of /proc.
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "core/facets/factories.h"
#include "core/sys/file.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65  // 6.3
#define PR_GET_MDWE 66
#endif

uint32_t read_number(HostPid pid, const char* file, int base) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/{}", pid, file));
  return text ? static_cast<uint32_t>(std::stol(*text, nullptr, base)) : 0;
}

class ProcessControlFacet : public ProcessFacet {
 public:
  void ask(inject::Batch& batch, const ProcessView&) override {
    subreaper_ = batch.reserve(8);
    dumpable_ = batch.try_add("prctl(PR_GET_DUMPABLE)", SYS_prctl, {PR_GET_DUMPABLE});
    thp_ = batch.try_add("prctl(PR_GET_THP_DISABLE)", SYS_prctl, {PR_GET_THP_DISABLE, 0, 0, 0, 0});
    mdwe_ = batch.try_add("prctl(PR_GET_MDWE)", SYS_prctl, {PR_GET_MDWE, 0, 0, 0, 0});
    flusher_ = batch.try_add("prctl(PR_GET_IO_FLUSHER)", SYS_prctl, {PR_GET_IO_FLUSHER, 0, 0, 0, 0});
    batch.try_add("prctl(PR_GET_CHILD_SUBREAPER)", SYS_prctl, {PR_GET_CHILD_SUBREAPER, subreaper_.get()});
  }

  void collect(const inject::Batch& batch, const ProcessView& view, google::protobuf::Any& out) override {
    image::ProcessControl message;
    message.set_dumpable(static_cast<int32_t>(std::max<int64_t>(batch.result(dumpable_), 0)));
    message.set_thp_disable(batch.result(thp_) > 0);
    message.set_mdwe(static_cast<uint32_t>(std::max<int64_t>(batch.result(mdwe_), 0)));
    message.set_io_flusher(batch.result(flusher_) > 0);
    message.set_child_subreaper(batch.get<int32_t>(subreaper_) != 0);
    message.set_coredump_filter(read_number(view.pid, "coredump_filter", 16));
    message.set_oom_score_adj(static_cast<int32_t>(read_number(view.pid, "oom_score_adj", 10)));
    out.PackFrom(message);
  }

  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::ProcessControl message;
    if (!from.UnpackTo(&message)) return false;
    if (message.child_subreaper())
      plan.early.add("prctl(PR_SET_CHILD_SUBREAPER)", SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0});
    if (message.thp_disable()) plan.early.add("prctl(PR_SET_THP_DISABLE)", SYS_prctl, {PR_SET_THP_DISABLE, 1, 0, 0, 0});
    if (message.io_flusher()) plan.early.add("prctl(PR_SET_IO_FLUSHER)", SYS_prctl, {PR_SET_IO_FLUSHER, 1, 0, 0, 0});
    // A change of credentials makes a process undumpable; 2 cannot be set, it is what such a change leaves.
    if (message.dumpable() != 2)
      plan.last.add("prctl(PR_SET_DUMPABLE)", SYS_prctl,
                    {PR_SET_DUMPABLE, static_cast<uint64_t>(message.dumpable()), 0, 0, 0});
    if (message.mdwe() != 0) plan.last.add("prctl(PR_SET_MDWE)", SYS_prctl, {PR_SET_MDWE, message.mdwe(), 0, 0, 0});
    const HostPid self = sys::own_pid();
    if (message.coredump_filter() != read_number(self, "coredump_filter", 16))
      sys::write_file(fmt::format("/proc/{}/coredump_filter", plan.pid),
                      fmt::format("{:#x}", message.coredump_filter()));
    if (message.oom_score_adj() != static_cast<int32_t>(read_number(self, "oom_score_adj", 10)))
      sys::write_file(fmt::format("/proc/{}/oom_score_adj", plan.pid), fmt::format("{}", message.oom_score_adj()));
    return true;
  }

 private:
  RemoteAddr subreaper_;
  size_t dumpable_ = 0, thp_ = 0, mdwe_ = 0, flusher_ = 0;
};

}  // namespace

std::unique_ptr<ProcessFacet> make_process_control() {
  return std::make_unique<ProcessControlFacet>();
}

}  // namespace mcr::facets
