// What processes outside of a tree have open.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/ids.h"

namespace mcr::kinds {

// The kernel keeps no list of who has a file open: /proc/PID/fd of all processes is read, when first asked. One object
// for both passes of a dump, before the freeze and frozen.
class Outsiders {
 public:
  struct Holder {
    HostPid pid;
    int fd;
  };
  using Links = std::unordered_multimap<std::string, Holder>;

  // Descriptors of other processes than these and our own that said so when /proc was read; what a link says is only a
  // hint for all files of the kernel's that have no path. `link` as the kernel writes it, with its " (deleted)".
  std::vector<Holder> holders_of(const std::string& link, const std::set<HostPid>& tree);
  bool has_any(const std::string& link, const std::set<HostPid>& tree);
  // Whether it still is what it was, and of a process that is none of the tree's children either: before the freeze
  // these may have come since the tree was listed.
  static bool is_outside(const Holder& holder, const std::string& link, const std::set<HostPid>& tree);

  // Whether a process below the tree has it, born since the tree was listed.
  static bool is_below(const Holder& holder, const std::string& link, const std::set<HostPid>& tree);

  // Neither now nor when it was asked before begin_again().
  bool never_had(const std::string& link, const std::set<HostPid>& tree);

  void begin_again();  // the next question reads /proc anew
  // Pipes that nobody outside has, by their links; they need not be asked about again.
  void note_own_pipe(const std::string& link) { own_pipes_.insert(link); }
  bool is_own_pipe(const std::string& link) const { return own_pipes_.contains(link); }

 private:
  void read_all(const std::set<HostPid>& tree);

  std::optional<Links> links_, earlier_;
  std::set<std::string> own_pipes_;
};

}  // namespace mcr::kinds
