// Dump: the pseudo-terminals whose masters the tree has, or was given by who calls, with all that can be said of them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "core/kinds/kind.h"
#include "images/proto/terminals.pb.h"

namespace mcr::kinds {

bool is_pty_master(const FileView& file);

class PtyTable {
 public:
  // Forgets everything; the descriptors of the tree from now on. outside_masters: of terminals whose masters the tree
  // has not, but which are a part of it all the same.
  void begin(const std::vector<int>& outside_masters);
  void note(const FileView& file);

  // A master whose slave's place is known.
  bool has_master(const FileView& file) const;
  // An end of one of these, or of a terminal that was hung up. Of /dev/tty it is a guess before the freeze.
  bool has(const FileView& file) const;
  // Whether the terminal by this number (tty_nr of proc(5)) is one of these.
  bool has_terminal(int tty_nr) const;

  // Frozen. Reads states and queues; nothing is consumed, even if the engine is killed meanwhile.
  // `pidfd_of`: of the process, by what FileView::pid says.
  void collect(const std::function<int(HostPid)>& pidfd_of, const std::vector<HostPid>& members);
  // nullptr: the file was not among the descriptors of the tree (it travels in a message).
  const mcr::image::PtyEnd* end_of(const FileView& file) const;
  // Path of the slave of this master: "/dev/pts/3".
  std::string slave_of(const FileView& master) const;
  const std::map<uint32_t, mcr::image::Pty>& ptys() const { return ptys_; }

 private:
  struct Pty {
    uint32_t id = 0;
    FileView view;     // of its master
    int outside = -1;  // its master, where somebody else holds it
    std::string ptmx, folder;
    UniqueFd master, slave;  // slave: any that can be read and written
    bool has_slave = false, slave_may_both = false;
  };
  using Key = std::pair<dev_t, uint32_t>;  // file system of the slave, index
  void note_outside(int master);
  Pty* find(const FileView& file, UniqueFd& copy);
  void open_ends(const std::function<int(HostPid)>& pidfd_of);
  void describe(Pty& pty, mcr::image::Pty& record, const std::vector<HostPid>& members);
  void describe_session(const Pty& pty, mcr::image::Pty& record, const std::vector<HostPid>& members);
  void read_all_queues();

  std::map<Key, Pty> found_;
  std::vector<FileView> slaves_;
  std::vector<std::pair<FileView, uint32_t>> masters_;  // with the id
  std::map<std::pair<HostPid, int>, mcr::image::PtyEnd> ends_;
  std::map<uint32_t, mcr::image::Pty> ptys_;
  bool has_collected_ = false;
};

}  // namespace mcr::kinds
