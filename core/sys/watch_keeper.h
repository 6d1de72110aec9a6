// A small process that outlives the engine and keeps what watches the writes of programs (write_watch.h) between two
// dumps. It ends with the last of them, and with it the watching. It is asked by its token, over a unix socket with an
// abstract name, by root and by its own user. Main thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"

namespace mcr::sys {

inline constexpr size_t kWatchTokenBytes = 16;

struct WatchedProcess {
  HostPid pid;
  uint64_t start_time = 0;  // field 22 of /proc/PID/stat
  UniqueFd watch;
};

// A keeper that is being set up. Should we end without settle(), it ends too.
class NewWatchKeeper {
 public:
  NewWatchKeeper();  // random token
  ~NewWatchKeeper();
  NewWatchKeeper(const NewWatchKeeper&) = delete;
  NewWatchKeeper& operator=(const NewWatchKeeper&) = delete;

  const std::string& token() const { return token_; }  // raw bytes
  // pidfd: the keeper lets go of it when this process ends. Both are needed during the call only.
  void add(HostPid pid, uint64_t start_time, int watch, int pidfd);
  void settle();  // from here on it stands by itself
 private:
  std::string token_;
  UniqueFd line_;
};

// One that stands by itself.
class WatchKeeper {
 public:
  // Those that can be seen from this network namespace, and that answer.
  static std::vector<WatchKeeper> find_all();

  const std::string& token() const { return token_; }
  bool has(HostPid pid, uint64_t start_time) const;
  // The descriptors of all of its processes; it keeps its own. None: it has ended meanwhile.
  std::vector<WatchedProcess> copy_all();
  // When this returns it has let go of everything, and its token is known to nobody any more. Throws when it does not
  // answer.
  void end();

 private:
  WatchKeeper(std::string token, UniqueFd line) : token_(std::move(token)), line_(std::move(line)) {}
  std::string token_;
  UniqueFd line_;
  std::vector<std::pair<HostPid, uint64_t>> processes_;
};

}  // namespace mcr::sys
