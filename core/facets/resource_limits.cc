// Resource limits: read from /proc (prlimit on another user's process needs CAP_SYS_RESOURCE), set by the process
// itself.
#include <sys/resource.h>
#include <sys/syscall.h>

#include "core/facets/factories.h"
#include "core/facets/value_check.h"
#include "core/sys/file.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

class ResourceLimitsFacet : public ProcessFacet {
 public:
  void ask(inject::Batch&, const ProcessView&) override {}
  void collect(const inject::Batch&, const ProcessView& view, google::protobuf::Any& out) override {
    image::ResourceLimits message;
    for (const auto& limit : procfs::parse_limits(sys::read_text(fmt::format("/proc/{}/limits", view.pid)))) {
      auto* added = message.add_limits();
      added->set_resource(limit.resource);
      added->set_soft(limit.soft);
      added->set_hard(limit.hard);
    }
    out.PackFrom(message);
  }
  void check(const google::protobuf::Any& from) const override {
    image::ResourceLimits message;
    if (!from.UnpackTo(&message)) return;
    require_value(message.limits_size() <= RLIM_NLIMITS, "the number of limits", message.limits_size());
    for (const auto& limit : message.limits()) {
      require_value(limit.resource() >= 0 && limit.resource() < RLIM_NLIMITS, "resource", limit.resource());
      require_value(limit.soft() <= limit.hard(), "soft (above hard)", limit.soft());
    }
  }
  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::ResourceLimits message;
    if (!from.UnpackTo(&message)) return false;
    for (const auto& limit : message.limits()) {
      const rlimit own = sys::limit_of_self(limit.resource());
      if (own.rlim_cur == limit.soft() && own.rlim_max == limit.hard()) continue;
      const auto resource = static_cast<uint64_t>(limit.resource());
      if (limit.hard() > own.rlim_max) {  // needs CAP_SYS_RESOURCE, which goes with the credentials
        const rlimit raised{own.rlim_cur, limit.hard()};
        plan.late.add("prlimit64", SYS_prlimit64, {0, resource, plan.buffers.put_value(raised).get(), 0});
      }
      const rlimit value{limit.soft(), limit.hard()};
      // Last: a low limit must not stand in the way of the restore itself.
      plan.last.add("prlimit64", SYS_prlimit64, {0, resource, plan.buffers.put_value(value).get(), 0});
    }
    return true;
  }
};

}  // namespace

std::unique_ptr<ProcessFacet> make_resource_limits() {
  return std::make_unique<ResourceLimitsFacet>();
}

}  // namespace mcr::facets
