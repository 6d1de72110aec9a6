// Who the processes of an image were where they were saved. A dump into a pipe ends them only when the last byte was
// taken, so the restore at the other end may begin before they are gone.
#pragma once

#include <chrono>
#include <vector>

#include "core/base/ids.h"
#include "images/proto/origin.pb.h"
#include "images/store.h"

namespace mcr::engine {

mcr::image::Origin describe_origin(const std::vector<HostPid>& pids, bool goes_on);
// Of an image that came as a stream; throws Fault::image. Empty when there is none.
mcr::image::Origin read_origin(const images::ImageReader& reader);
// Waits while one of the very processes is there, on the boot and in the pid namespace that they were saved in. False:
// the time is over.
bool wait_for_end(const mcr::image::Origin& origin, std::chrono::milliseconds most);

}  // namespace mcr::engine
