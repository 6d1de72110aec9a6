// Memory of a tree that processes outside of the dump have too.
#pragma once

#include <sys/types.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/kinds/open_files.h"
#include "core/procfs/maps.h"

namespace mcr::engine {

// Finds out who else has the anonymous shared memory, the memfds, the deleted files and the System V segments of a
// tree. All but the last have no name by which they could be found again: after a restore the two would have one of
// their own each.
//
// Asked twice: before the freeze, and again when nothing in the tree can change any more; then only processes that are
// new are looked at, as nobody gets such memory but by being forked, or by being sent a memfd in that very moment.
class MemorySharers {
 public:
  explicit MemorySharers(HostPid root) : root_(root) {}

  // One process of the tree: what it has mapped and, before the freeze, what it has open. Any thread.
  void note(HostPid pid, const std::vector<procfs::Mapping>& mappings);
  void note_open(const std::vector<kinds::OpenFiles::Nameless>& files);
  // Throws Error (refused) naming the process outside. Before the freeze children may come and go meanwhile.
  void refuse_outsiders(bool is_frozen);
  void forget();       // all that was noted
  void begin_again();  // frozen: the processes and their attachments are noted anew, what they may share stays noted

 private:
  using Object = std::pair<dev_t, uint64_t>;  // device and inode
  struct DeletedFile {
    bool is_certain = false;         // it is open and has no name
    bool is_written = false;         // by the tree, or may be
    std::vector<std::string> doors;  // to its mappings
  };
  void note_mapped_file(const Object& object, std::string door, bool is_written);
  bool is_split(const Object& object, const std::string& other_door) const;
  bool is_member(const std::string& process, bool is_frozen) const;
  void look_at_mappings(const std::string& process, bool is_frozen) const;
  void look_at_descriptors(const std::string& process, bool is_frozen) const;
  void count_attachments(bool is_frozen) const;

  HostPid root_;
  std::mutex noting_;
  std::set<HostPid> tree_;
  std::set<Object> objects_, memfds_;
  std::map<Object, DeletedFile> deleted_;
  std::map<int, uint64_t> attachments_;  // of segments: by the tree
  std::set<std::string> seen_;           // processes that had nothing of it
};

}  // namespace mcr::engine
