// Dump: every open file description of the tree once, with the descriptors that lead to it.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "core/base/obstacles.h"
#include "core/kinds/file_names.h"
#include "core/kinds/ghosts.h"
#include "core/kinds/kind.h"
#include "core/kinds/outsiders.h"
#include "core/kinds/pty_table.h"
#include "core/kinds/socket_table.h"
#include "core/procfs/maps.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "images/store.h"

namespace mcr::kinds {

struct DumpPolicy {
  bool shell_job = false;
  uint64_t ghost_limit = UINT64_MAX;
  bool build_ids = true;
  bool link_remap = false;
  bool file_locks = false;
  std::set<std::string> external;  // canonical_resource()
  bool tcp_established = false;
  bool tcp_close = false;
  bool skip_in_flight = false;
  std::string lock_table;  // of the connections whose other end is outside of the tree; empty: they are not locked
  // A look before the freeze: GPU devices are open as long as the driver has not been told to give them up.
  bool gpu_devices_close = false;
  // Unix sockets whose peer may be outside of the tree, by their inodes; none listed: all. nullopt: none.
  std::optional<std::set<uint64_t>> outside_unix_peers;
  // Masters of pseudo-terminals that are a part of the program though somebody outside holds them. Ours, borrowed.
  std::vector<int> outside_masters;
  bool allows_outside_peer(uint64_t inode) const {
    return outside_unix_peers && (outside_unix_peers->empty() || outside_unix_peers->contains(inode));
  }
};

enum PipeEnds : unsigned { kReader = 1, kWriter = 2, kPackets = 4 };

// Copies what waits in a pipe without consuming it, through a pipe of its own.
class PipeCopier {
 public:
  // One chunk a packet. Throws Fault::refused when our own pipe cannot be made large enough.
  std::vector<std::string> copy(int reader, size_t bytes, int capacity);

 private:
  sys::Pipe pipe_;
  int capacity_ = 0;
};

class OpenFiles {
 public:
  OpenFiles(DumpPolicy policy, Outsiders& outsiders) : policy_(std::move(policy)), outsiders_(outsiders) {}
  const DumpPolicy& policy() const { return policy_; }

  // The processes of the tree, before anything else: what one of them has open may be the other end of another's.
  // `most`: look at no more descriptors of one process. pidfd_of: of processes that stand still.
  void begin(const std::vector<HostPid>& tree, size_t most = SIZE_MAX,
             const std::function<int(HostPid)>& pidfd_of = nullptr);
  // All of them, those that have ended and wait for their parents too.
  void note_members(const std::vector<HostPid>& members) { members_.insert(members.begin(), members.end()); }
  bool has_member(HostPid pid) const { return members_.contains(pid); }
  // Before the freeze: refuses what no kind claims or a kind cannot keep.
  void look_at_descriptors(HostPid pid, Obstacles& obstacles) const;
  // Frozen: enters all descriptors of the process. pidfd: of the process.
  std::vector<mcr::image::Descriptor> enter_descriptors(HostPid pid, int pidfd, images::ImageWriter& writer);
  // Before the freeze, of all that begin() has seen: refuses open files with a state that somebody outside of the tree
  // has too, and warns of positions in files.
  void look_at_sharers(Obstacles& obstacles) const;
  // A file that is mapped, executed, or a working directory. `door` as in FileView. Returns its id.
  uint32_t enter_path(HostPid pid, const std::string& door, uint32_t flags, images::ImageWriter& writer);
  // The same of a mapped file. Found again without asking by what the mapping says of it, where that tells for certain.
  uint32_t enter_mapping(HostPid pid, const procfs::Mapping& mapping, uint32_t flags, images::ImageWriter& writer);
  // What can be said of it before the freeze. `looked_at`: of mappings, what need not be looked at once more.
  void look_at_path(HostPid pid, const std::string& door) const;
  struct MappedName {
    dev_t device;
    uint64_t inode;
    std::string path;
    uint32_t flags;
    auto operator<=>(const MappedName&) const = default;
  };
  using MappedNames = std::set<MappedName>;
  void look_at_mapping(HostPid pid, const procfs::Mapping& mapping, MappedNames& looked_at) const;

  // For kinds. Refuses a file that neither its name nor its content can bring back.
  void require_kept(const FileView& file) const;
  // A deleted file, stored once per inode; returns the ghost's id.
  uint32_t enter_ghost(const FileView& file) { return ghosts_.enter(file, *writer_); }
  mcr::image::Ghost& ghost(uint32_t id) { return ghosts_.ghost(id); }  // valid until the next one is entered
  // The path to open the file by; with --link-remap perhaps a link made now.
  std::string name_of(const FileView& file) { return remaps_.name_of(file); }
  // For pipes: contents stored once per pipe; returns the PipeData id.
  uint32_t enter_pipe(const FileView& file, const std::string& fifo_path);
  // The image is committed: links that it needs stay.
  void keep_links() { remaps_.keep(); }

  // A System V segment that the process has attached; `door` leads to one of its mappings.
  void look_at_segment(HostPid pid, int id, const std::vector<procfs::Mapping>& mappings) const;
  void enter_segment(HostPid pid, int id, const std::string& door, images::ImageWriter& writer);
  // The program is gone: waits, for a second at most, until whoever attaches a segment from now on does so in a later
  // second than the program did. A restore tells by that whether its content is still the program's.
  void outlast_attachments() const;

  // Of every process all descriptors are known; files in messages are not, before the freeze.
  bool knows_all() const { return knows_all_ends_; }
  bool is_leader(HostPid pid) const { return leaders_.contains(pid); }  // of a living process of the tree
  // Refuses a pipe of which an end is held outside of the tree.
  void require_closed_pipe(const FileView& file) const;

  void connect();  // all descriptors of all processes are entered; before anything runs
  const std::map<HostPid, std::vector<FileView>>& views() const { return views_; }  // by process
  // Of a process that begin() has seen: the descriptors whose links end in the kernel's mark of a deleted file.
  struct Nameless {
    std::string link, door;
  };
  std::vector<Nameless> nameless(HostPid pid) const;
  bool has_gpu_device(HostPid pid) const;     // open, of a process that begin() has seen
  uint32_t id_of(HostPid pid, int fd) const;  // 0: it is not entered
  // Files that only messages hold, as our own descriptors; entered.
  const std::deque<FileView>& in_flight_views() const { return in_flight_views_; }
  // Sockets. Frozen, before anything is entered: what waits in their queues.
  // `hold`: called at most once, with the processes that must not run for a moment whatever becomes of us.
  void collect_sockets(const std::function<int(HostPid)>& pidfd_of,
                       const std::function<void(const std::set<HostPid>&)>& hold);
  SocketTable& sockets() { return *sockets_; }
  const SocketTable& sockets() const { return *sockets_; }
  const std::set<HostPid>& tree() const { return tree_; }
  // Terminals. Frozen, before anything is entered.
  void collect_ptys(const std::function<int(HostPid)>& pidfd_of);
  const PtyTable& ptys() const { return ptys_; }
  // Refuses a controlling terminal that would be lost.
  void look_at_controlling_terminal(HostPid pid) const;
  // "4711 (cat)": a process outside of the tree that has this file open, by a path and with this text in its fdinfo.
  std::optional<std::string> holder_of_terminal(const std::string& path, const struct stat& status,
                                                const std::string& info) const;
  void dump_queue(uint64_t inode, google::protobuf::RepeatedPtrField<mcr::image::SocketMessage>& queue);

  void write(images::ImageWriter& writer);  // files.img
  const std::vector<mcr::image::FileObject>& objects() const { return objects_; }

 private:
  struct Known {
    HostPid pid;
    int fd;
    uint32_t id;  // 0: not entered yet
  };
  void note_pipe_ends(const std::vector<FileView>& files);
  unsigned ends_of(const FileView& file) const;
  std::vector<FileView> rest_of_interest() const;
  const Kind& look_at(const FileView& file) const;
  bool is_external(const FileView& file) const;
  bool is_connected_again(const FileView& file) const;
  uint32_t find_or_enter(FileView& file);
  void enter(FileView& file, uint32_t id);
  void require_own_signals(const FileView& file, const sys::FileOwner& owner) const;

  DumpPolicy policy_;
  Outsiders& outsiders_;
  images::ImageWriter* writer_ = nullptr;
  uint32_t last_id_ = 0;
  std::vector<mcr::image::FileObject> objects_;
  Ghosts ghosts_;
  RemapLinks remaps_;
  std::vector<mcr::image::PipeData> pipes_;
  std::vector<mcr::image::SysvSegment> segments_;
  PipeCopier copier_;
  using Alike = std::tuple<dev_t, ino_t, uint32_t, int64_t>;  // what one open file has in common wherever it is seen
  Alike alike(const FileView& file) const;
  void note_still_files();
  bool is_asked_all(const FileView& file) const;  // what a copy of it would be asked
  void sort_many(HostPid pid, const std::vector<FileView>& files);
  std::map<Alike, std::vector<std::shared_ptr<Known>>> known_;        // in the order of kcmp(2)
  std::map<std::pair<HostPid, int>, std::shared_ptr<Known>> sorted_;  // those that sort_many() has compared
  std::map<std::tuple<dev_t, ino_t, uint32_t>, uint32_t> paths_;
  using Inode = std::pair<dev_t, ino_t>;  // FIFOs of two file systems may have one number
  std::set<Inode> still_;                 // files whose positions nobody changes
  std::map<Inode, uint32_t> pipe_ids_;
  std::map<Inode, unsigned> pipe_ends_;  // PipeEnds: what the tree itself holds
  bool knows_all_ends_ = true;
  struct Unseen {
    int fd;
    std::string link;
  };
  struct Descriptors {
    std::vector<FileView> views;
    std::vector<Unseen> rest;
    std::exception_ptr problem;
  };
  static Descriptors read_descriptors(HostPid pid, size_t most, bool alone, int pidfd);
  uint32_t enter_viewed(const FileView& file, uint32_t flags);
  std::map<MappedName, uint32_t> mapped_;
  std::map<HostPid, std::vector<Unseen>> rest_;  // descriptors that begin() has not looked at
  std::map<HostPid, std::vector<FileView>> views_;
  std::set<HostPid> tree_;     // processes, and threads that stand for one
  std::set<HostPid> leaders_;  // of these, the processes
  std::set<std::string> stayed_outside_;
  std::set<std::pair<dev_t, ino_t>> leased_;  // files with a write lease
  void note_process(HostPid view);
  std::optional<std::string> find_holder(const FileView& file) const;  // "4711 (cat)", outside of the tree
  bool is_held_below(const FileView& file) const;                      // by one that begin() was not told of
  std::set<HostPid> members_;                                          // processes, those that have ended too
  std::map<std::pair<HostPid, int>, uint32_t> ids_;
  std::map<uint32_t, const FileView*> first_views_;  // of each object that is a descriptor
  std::deque<FileView> in_flight_views_;             // of files in messages, by our own numbers
  std::shared_ptr<SocketTable> sockets_ = std::make_shared<SocketTable>();
  uint32_t enter_in_flight(int fd);
  PtyTable ptys_;
};

// Looks without opening anything.
// nullopt when it is gone.
// flags: with which it is open, as far as they are known.
std::optional<FileView> view_path(HostPid pid, const std::string& door, uint32_t flags = 0);

}  // namespace mcr::kinds
