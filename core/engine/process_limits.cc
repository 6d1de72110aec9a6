#include "core/engine/process_limits.h"

#include <linux/capability.h>

#include <charconv>

#include "core/inject/session.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/security.h"
#include "images/proto/facets.pb.h"

namespace mcr::engine {
namespace {

constexpr uint64_t kParasiteBytes = parasite::kCodeBytes + inject::ParasiteSession::kDataBytes;
constexpr const char* kNames[RLIM_NLIMITS] = {"CPU",      "FSIZE",  "DATA",    "STACK", "CORE",  "RSS",
                                              "NPROC",    "NOFILE", "MEMLOCK", "AS",    "LOCKS", "SIGPENDING",
                                              "MSGQUEUE", "NICE",   "RTPRIO",  "RTTIME"};

std::string name_of(int resource) {
  return resource >= 0 && resource < static_cast<int>(RLIM_NLIMITS) ? fmt::format("RLIMIT_{}", kNames[resource])
                                                                    : fmt::format("limit {}", resource);
}

std::string shown(uint64_t value) {
  return value == RLIM_INFINITY ? "unlimited" : std::to_string(value);
}

// "VmSize:\t    3060 kB"
uint64_t bytes_of(std::string_view status, std::string_view field) {
  const size_t at = status.find(field);
  if (at == std::string_view::npos) return 0;
  const size_t digits = status.find_first_of("0123456789", at);
  uint64_t kib = 0;
  if (digits != std::string_view::npos) std::from_chars(status.data() + digits, status.data() + status.size(), kib);
  return kib * 1024;
}

void refuse_used_up(HostPid view, int resource, uint64_t used, uint64_t more, uint64_t limit, const char* option) {
  if (limit == RLIM_INFINITY || used + more <= limit) return;
  throw Error(Fault::refused,
              fmt::format("it has used {} of the {} that {} allows; {} more are needed for a moment", used, limit,
                          name_of(resource), more),
              fmt::format("raise that limit first: prlimit --pid {} --{}={}:", view, option, used + 2 * more));
}

// Numbers below the soft limit that are free; no more than there are for certain. The size of the folder is the count
// of all descriptors (6.2), before that it is 0.
uint64_t free_numbers(HostPid view, uint64_t limit) {
  const auto folder = sys::try_stat(fmt::format("/proc/{}/fd", view));
  const uint64_t all = folder ? static_cast<uint64_t>(folder->st_size) : 0;
  if (all > 0 && all + 2 <= limit) return limit - all;
  uint64_t taken = 0;
  for (const std::string& name : sys::list_directory(fmt::format("/proc/{}/fd", view))) {
    uint64_t number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    if (number < limit) ++taken;
  }
  return limit - std::min(taken, limit);
}

}  // namespace

void refuse_tight_limits(HostPid view, std::string_view status) {
  for (const auto& limit : procfs::parse_limits(sys::read_text(fmt::format("/proc/{}/limits", view)))) {
    if (limit.resource == RLIMIT_AS)
      refuse_used_up(view, limit.resource, bytes_of(status, "\nVmSize:"), kParasiteBytes, limit.soft, "as");
    if (limit.resource == RLIMIT_DATA)
      refuse_used_up(view, limit.resource, bytes_of(status, "\nVmData:"), kParasiteBytes, limit.soft, "data");
    if (limit.resource == RLIMIT_NOFILE && limit.soft != RLIM_INFINITY)
      if (const uint64_t left = free_numbers(view, limit.soft); left < 2)
        refuse_used_up(view, limit.resource, limit.soft - left, 2, limit.soft, "nofile");
  }
}

void check_limits(const tree::ProcessImage& process, std::vector<Problem>& problems) {
  if (sys::has_capability(CAP_SYS_RESOURCE)) return;
  for (const auto& facet : process.core.facets()) {
    image::ResourceLimits limits;
    if (!facet.UnpackTo(&limits)) continue;
    for (const auto& limit : limits.limits()) {
      const rlimit own = sys::limit_of_self(limit.resource());
      if (own.rlim_max >= limit.hard()) continue;
      problems.push_back(
          {name_of(limit.resource()),
           fmt::format("was {}, this shell may have at most {}", shown(limit.hard()), shown(own.rlim_max)),
           "raise the hard limit before the restore (ulimit -H), or give CAP_SYS_RESOURCE"});
    }
  }
}

void check_process_control(const tree::ProcessImage& process, std::vector<Problem>& problems) {
  const bool privileged = sys::has_capability(CAP_SYS_RESOURCE);
  for (const auto& facet : process.core.facets()) {
    image::ProcessControl control;
    if (!facet.UnpackTo(&control)) continue;
    const int wanted = control.oom_score_adj();
    if (!privileged && !sys::may_adjust_oom_score(wanted))
      problems.push_back({"OOM adjustment", fmt::format("was {}, which is lower than we may choose", wanted),
                          "give CAP_SYS_RESOURCE, or start mini-criu with that adjustment (choom -n)"});
    if (control.mdwe() == 0 && sys::denies_executable_memory())
      problems.push_back({"memory", "no executable memory may be made by what we start (PR_SET_MDWE)",
                          "run mini-criu from a program without that restriction"});
  }
}

RaisedLimits::RaisedLimits()
    : RaisedLimits({RLIMIT_AS, RLIMIT_DATA, RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_SIGPENDING, RLIMIT_MEMLOCK}) {}

RaisedLimits::RaisedLimits(std::initializer_list<int> resources) {
  for (const int resource : resources) {
    const rlimit old = sys::limit_of_self(resource);
    old_.emplace(resource, old);
    sys::set_limit_of_self(resource, {old.rlim_max, old.rlim_max});
  }
}

RaisedLimits::~RaisedLimits() {
  for (const auto& [resource, old] : old_) sys::set_limit_of_self(resource, old);
}

}  // namespace mcr::engine
