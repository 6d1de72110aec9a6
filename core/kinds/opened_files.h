// Restore: every object of files.img is opened once, here in the engine, and then handed to the processes that have it.
#pragma once

#include <fcntl.h>

#include <functional>

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/kinds/deleted_files.h"
#include "core/kinds/external.h"
#include "core/kinds/ghost_content.h"
#include "core/kinds/host_sockets.h"
#include "core/kinds/kind.h"
#include "core/kinds/ptys.h"
#include "core/kinds/sysv_segment.h"
#include "core/kinds/tcp_sockets.h"
#include "core/kinds/unix_sockets.h"
#include "images/store.h"

namespace mcr::kinds {

enum class Validation { none, filesize, buildid };

struct RestorePolicy {
  bool shell_job = false;
  Validation validation = Validation::buildid;
  std::multimap<std::string, int> inherited;  // descriptors of ours, by resource or absolute path
  bool real_timers = false;                   // --timers real
  bool tcp_close = false;
  bool lock_network = true;
  bool takes_masters = false;    // of terminals whose masters were outside of the program
  bool beside_original = false;  // which may run, and has what has a name of its own
};

// Flags that mean something when a file is opened again; O_CREAT, O_EXCL, O_TRUNC are never among a file's flags.
inline constexpr uint32_t kReopenFlags = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_DIRECT | O_LARGEFILE |
                                         O_NOATIME | O_NOFOLLOW | O_PATH | O_DIRECTORY;

bool is_path(const std::string& path);  // absolute, and without a zero byte

class OpenedFiles {
 public:
  OpenedFiles(const images::ImageReader& reader, RestorePolicy policy);
  ~OpenedFiles();  // undoes, unless keep() was called
  OpenedFiles(const OpenedFiles&) = delete;
  OpenedFiles& operator=(const OpenedFiles&) = delete;

  // All problems of this host, before anything is created.
  void check(std::vector<Problem>& problems) const;
  const mcr::image::FileObject& object(uint32_t id) const;  // throws Fault::image when there is none
  int open(uint32_t id);                                    // opens it at the first call; stays ours
  void open_all(const std::vector<uint32_t>& ids);          // in this order, but for many plain files by two threads
  // Every process has mapped what it maps: seals, removed segments.
  void finish_memory();
  // Of an object that the new process opens by itself, below the folder that open() returns.
  std::optional<LateOpen> late(uint32_t id) const;
  void keep_late(uint32_t id, UniqueFd file);         // what the first such process has opened
  std::optional<int> opened_late(uint32_t id) const;  // for the others that share it
  void seek_late();                                   // all processes are as they were: the positions in those files
  // O_ASYNC: set by the process itself, never by the engine, and no part of what object() returns.
  bool is_asynchronous(uint32_t id) const { return asynchronous_.contains(id); }
  // The path by which others reach the file of an object; nullopt: nobody else can.
  std::optional<std::string> path_of(uint32_t id) const;
  bool take_turn(uint32_t id) { return locked_.insert(id).second; }  // the first to lock what is shared
  // The descriptors of all processes are in place. What only a process itself can do is left in watches().
  void connect();
  struct Watch {  // an epoll_ctl(EPOLL_CTL_ADD)
    int32_t pid = 0;
    int epoll = -1, fd = -1;  // numbers in that process
    uint32_t events = 0;
    uint64_t data = 0;
  };
  std::vector<Watch>& watches() { return watches_; }
  void start();  // the whole tree stands still, complete
  void close_all();
  // The program runs: what --link-remap had made for this image goes.
  void remove_remap_links();
  // What a kind has made and nobody else would remove. The program runs: it stays.
  void undo_unless_kept(std::function<void()> undo) { to_undo_.push_back(std::move(undo)); }
  void keep() { to_undo_.clear(), segments_.keep(); }

  const std::map<uint32_t, mcr::image::FileObject>& objects() const { return objects_; }
  // What the object says, where that is a RegularFile; nullptr otherwise.
  const mcr::image::RegularFile* regular_file(uint32_t id) const;
  UnixSockets& unix_sockets() { return unix_sockets_; }
  TcpSockets& tcp_sockets() { return tcp_sockets_; }
  Ptys& ptys() { return ptys_; }
  const Ptys& ptys() const { return ptys_; }
  void make_ptys();  // before the processes

  Segments& segments() { return segments_; }
  const Segments& segments() const { return segments_; }
  void fill_segment(int32_t id, const TakePiece& take) const;
  // By the logarithm of the page size: bytes on huge pages that memfds and segments will take, mappings not counted.
  std::map<uint32_t, uint64_t> huge_memory() const;

  const RestorePolicy& policy() const { return policy_; }
  HostSockets& host_sockets() const { return *host_sockets_; }  // as they were when check() was called
  // The numbers that processes of the image have here, where they are others.
  void set_host_pids(std::map<int32_t, HostPid> pids) { host_pids_ = std::move(pids); }
  HostPid host_pid(int32_t pid) const;
  // For kinds.
  bool has_process(pid_t pid) const;  // one of those that are restored
  DeletedFiles& deleted_files() { return deleted_; }
  const DeletedFiles& deleted_files() const { return deleted_; }
  // By its path; a file that --link-remap had given one also without it. is_link: the symbolic link itself. Both throw
  // Error (refused) where a symbolic link of somebody else lies on the way (core/sys/path_walk.h).
  std::optional<struct stat> stat_named(const std::string& path, bool is_link = false) const;
  std::optional<UniqueFd> find_named(const std::string& path, bool is_link = false) const;  // O_PATH
  UniqueFd open_named(const std::string& path, uint32_t flags, bool is_link = false) const;
  const mcr::image::Ghost* find_ghost(uint32_t id) const { return deleted_.find(id); }
  void for_each_ghost(const std::function<void(const mcr::image::Ghost&)>& visit) const { deleted_.for_each(visit); }
  UniqueFd open_pipe_end(const mcr::image::FileObject& object, const mcr::image::Pipe& pipe);
  std::optional<std::string> terminal_path() const;  // of the invoking shell

 private:
  void add(mcr::image::FileObject object);
  void number_objects();
  void add(mcr::image::RemapLink link);
  void check_capacities(std::vector<Problem>& problems) const;
  void check_outside_masters(std::vector<Problem>& problems) const;
  void check_one(const mcr::image::FileObject& object, std::vector<Problem>& problems) const;
  bool is_plain(const mcr::image::FileObject& object) const;
  UniqueFd open_now(const mcr::image::FileObject& object);
  void open_plain(const std::vector<uint32_t>& ids);
  std::optional<UniqueFd> open_by_handle(const std::string& path, uint32_t flags) const;
  struct PipeEnds {
    UniqueFd reader, writer, holder;
    std::string door;  // of a named pipe
    bool reader_used = false, writer_used = false;
  };
  PipeEnds& make_pipe(const mcr::image::Pipe& pipe);

  const images::ImageReader& reader_;
  RestorePolicy policy_;
  InheritedFiles inherited_;
  std::map<uint32_t, mcr::image::FileObject> objects_;
  std::vector<const mcr::image::FileObject*> by_number_;       // the same, at once; empty where ids are far apart
  std::map<uint32_t, mcr::image::RegularFile> regular_files_;  // bodies of objects
  DeletedFiles deleted_;
  std::set<uint32_t> asynchronous_, locked_;
  std::map<std::string, mcr::image::RemapLink> remaps_;  // by path
  std::map<uint32_t, mcr::image::PipeData> pipe_data_;
  std::map<uint32_t, UniqueFd> opened_, late_;
  std::map<uint32_t, PipeEnds> pipes_;  // by their data
  Segments segments_;
  std::vector<Watch> watches_;
  std::map<int32_t, HostPid> host_pids_;
  std::vector<std::function<void()>> to_undo_;
  const std::unique_ptr<HostSockets> host_sockets_ = std::make_unique<HostSockets>();
  UnixSockets unix_sockets_;
  TcpSockets tcp_sockets_;
  Ptys ptys_;
};

}  // namespace mcr::kinds
