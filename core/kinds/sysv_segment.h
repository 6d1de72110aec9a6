// System V shared memory (shmget(2)). A segment outlives the processes that attach it: at a restore it may still be
// there, with its old id. Then it is taken over, and its content becomes that of the image, unless somebody else has it
// or had it meanwhile.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "core/base/error.h"
#include "core/base/ids.h"
#include "images/proto/files.pb.h"

namespace mcr::kinds {

std::vector<HostPid> users_of_segment(int id);  // that have it attached, as far as they can be seen

class Segments {  // restore
 public:
  Segments() = default;
  ~Segments();  // removes those that were made here, unless keep() was called
  Segments(const Segments&) = delete;
  Segments& operator=(const Segments&) = delete;

  void add(mcr::image::SysvSegment segment);
  const mcr::image::SysvSegment& segment(int32_t id) const;  // throws Fault::image
  // pids: of the image, whose own use of a segment is none of a stranger.
  void check(const std::set<int>& pids, std::vector<Problem>& problems) const;
  // Called by every process before it attaches the segment. True for the first, which must empty and fill it.
  bool prepare(int32_t id);
  void finish();
  void keep() { kept_ = true; }                      // the program runs
  std::map<uint32_t, uint64_t> huge_memory() const;  // bytes of those to be made, by the logarithm of the page size

 private:
  std::map<int32_t, mcr::image::SysvSegment> segments_;
  std::set<int32_t> prepared_, made_, taken_over_;
  bool kept_ = false;
};

}  // namespace mcr::kinds
