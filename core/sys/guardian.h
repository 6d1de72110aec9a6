// A process that stands by while several others are let go one after the other: should we die in between, it kills all
// of them. So a tree is either there as a whole or not at all, whenever we are killed.
#pragma once

#include <sys/types.h>

#include <span>

#include "core/base/unique_fd.h"

namespace mcr::sys {

class Guardian {
 public:
  // pidfds: of the processes; they need to be open during the call only. Main thread.
  explicit Guardian(std::span<const int> pidfds);
  ~Guardian();  // without commit(): kills them
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;

  void commit();  // from here on they live, whatever becomes of us

 private:
  UniqueFd line_;
  pid_t pid_ = -1;
};

}  // namespace mcr::sys
