// Restore: the pseudo-terminals of an image. They are made before the processes are, as a process inherits its
// controlling terminal at birth.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "core/base/unique_fd.h"
#include "images/proto/files.pb.h"
#include "images/proto/terminals.pb.h"

namespace mcr {
struct Problem;
}

namespace mcr::kinds {

inline constexpr uint32_t kMostPtys = 1 << 20;  // NR_UNIX98_PTY_MAX

// What the leader of a session does with a terminal; all numbers as in the image.
struct ControllingTerminal {
  int slave = -1;  // ours
  pid_t foreground = 0;
  std::vector<pid_t> detached;  // have none, though they are in the session
};

class Ptys {
 public:
  // Throws Fault::image when no kernel could have had it.
  void add(mcr::image::Pty record);
  // Throws Fault::image when the end belongs to no terminal of the image.
  void check_end(const mcr::image::FileObject& object) const;
  void check(uint32_t id, std::vector<Problem>& problems) const;
  // One whose master was outside of the program. takes: somebody is there to have it again.
  void check_outside(uint32_t id, bool takes, std::vector<Problem>& problems) const;

  // With their old numbers and all that waits in them. `objects`: of the image; those that are given to the restore
  // from outside (--inherit-fd) left out.
  void make(const std::vector<const mcr::image::FileObject*>& objects);
  std::map<pid_t, ControllingTerminal> by_session() const;
  UniqueFd take(const mcr::image::FileObject& object);
  void start(uint32_t id);  // all ends are open
  void start_outside();
  std::vector<UniqueFd> outside_masters() const;  // copies
  void close_all() { made_.clear(), slaves_.clear(); }

 private:
  struct Made {
    UniqueFd master, slave;
  };
  void hang_up(const mcr::image::FileObject& object);
  void open_masters(const std::vector<uint32_t>& ids);
  void open_outside(uint32_t id);
  void set_up(const mcr::image::Pty& record, Made& made);

  std::map<uint32_t, mcr::image::Pty> records_;
  std::map<uint32_t, Made> made_;
  std::map<uint32_t, UniqueFd> slaves_;  // by object
  std::set<uint32_t> outside_;           // made, their masters are not the program's
};

}  // namespace mcr::kinds
