// Limits of a process that stand in the way of the engine: a program that has used up its own, a host whose limits are
// lower than those of the image.
#pragma once

#include <sys/resource.h>

#include <map>

#include "core/base/error.h"
#include "core/base/ids.h"
#include "core/tree/process_image.h"

namespace mcr::engine {

// The parasite needs some memory and two descriptors. `view`: a thread that lives. `status`: its /proc/PID/status.
void refuse_tight_limits(HostPid view, std::string_view status);

// Hard limits that cannot be raised, and what else wants CAP_SYS_RESOURCE.
void check_limits(const tree::ProcessImage& process, std::vector<Problem>& problems);
void check_process_control(const tree::ProcessImage& process, std::vector<Problem>& problems);

// While it lives, our soft limits are as high as they may be. Of a restore those of memory, descriptors, files and
// signals: those of a new process are set at the very end, and until then it has ours.
class RaisedLimits {
 public:
  RaisedLimits();
  explicit RaisedLimits(std::initializer_list<int> resources);  // RLIMIT_*
  ~RaisedLimits();
  RaisedLimits(const RaisedLimits&) = delete;
  RaisedLimits& operator=(const RaisedLimits&) = delete;

 private:
  std::map<int, rlimit> old_;
};

}  // namespace mcr::engine
