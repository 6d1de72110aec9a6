// A process that stands by while others are in a state that only this program ends: should we die, it becomes this
// program anew, with other arguments, and puts things right.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::sys {

class Successor {
 public:
  // `arguments`: without the program's name. Main thread; other threads may be there.
  explicit Successor(const std::vector<std::string>& arguments);
  ~Successor();  // sends it away: nothing is to be put right
  Successor(const Successor&) = delete;
  Successor& operator=(const Successor&) = delete;

 private:
  UniqueFd line_;
  pid_t pid_ = -1;
};

}  // namespace mcr::sys
