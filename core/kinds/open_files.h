// Dump: every open file description of the tree once, with the descriptors that lead to it.
#pragma once

#include <map>
#include <set>
#include <tuple>

#include "core/kinds/kind.h"
#include "core/procfs/maps.h"
#include "images/store.h"

namespace mcr::kinds {

struct DumpPolicy {
  bool shell_job = false;
  uint64_t ghost_limit = UINT64_MAX;
  bool build_ids = true;
};

enum PipeEnds : unsigned { kReader = 1, kWriter = 2, kPackets = 4 };

class OpenFiles {
 public:
  explicit OpenFiles(DumpPolicy policy) : policy_(policy) {}
  const DumpPolicy& policy() const { return policy_; }

  // The processes of the tree, before anything else: what one of them has open may be the other end of another's.
  void begin(const std::vector<HostPid>& tree);
  // Before the freeze: refuses what no kind claims or a kind cannot keep.
  void look_at_descriptors(HostPid pid) const;
  // Frozen: enters all descriptors of the process. pidfd: of the process.
  std::vector<mcr::image::Descriptor> enter_descriptors(HostPid pid, int pidfd, images::ImageWriter& writer);
  // A file that is mapped, executed, or a working directory. `door` as in FileView. Returns its id.
  uint32_t enter_path(HostPid pid, const std::string& door, uint32_t flags, images::ImageWriter& writer);
  // What can be said of it before the freeze.
  void look_at_path(HostPid pid, const std::string& door) const;

  // For kinds: the content of a deleted file, stored once per inode; returns the ghost's id.
  uint32_t enter_ghost(const FileView& file);
  mcr::image::Ghost& ghost(uint32_t id) { return ghosts_.at(id - 1); }  // valid until the next one is entered
  // For pipes: contents stored once per pipe; returns the PipeData id.
  uint32_t enter_pipe(const FileView& file, const std::string& fifo_path);

  // A System V segment that the process has attached; `door` leads to one of its mappings.
  void look_at_segment(HostPid pid, int id, const std::vector<procfs::Mapping>& mappings) const;
  void enter_segment(HostPid pid, int id, const std::string& door, images::ImageWriter& writer);

  // Refuses a pipe whose other end is held outside of the tree.
  void require_closed_pipe(const FileView& file) const;

  void write(images::ImageWriter& writer);  // files.img
  const std::vector<mcr::image::FileObject>& objects() const { return objects_; }

 private:
  struct Known {
    HostPid pid;
    int fd;
    uint32_t id;
  };
  void note_pipe_ends(const std::vector<FileView>& files);
  unsigned ends_of(const FileView& file) const;
  uint32_t find_or_enter(FileView& file);
  uint32_t enter(FileView& file, const Kind& kind);

  DumpPolicy policy_;
  images::ImageWriter* writer_ = nullptr;
  std::vector<mcr::image::FileObject> objects_;
  std::vector<mcr::image::Ghost> ghosts_;
  std::vector<mcr::image::PipeData> pipes_;
  std::vector<mcr::image::SysvSegment> segments_;
  std::map<std::tuple<dev_t, ino_t, int64_t, uint32_t>, std::vector<Known>> known_;
  std::map<std::tuple<dev_t, ino_t, uint32_t>, uint32_t> paths_;
  std::map<std::pair<dev_t, ino_t>, uint32_t> ghost_ids_;
  std::map<ino_t, uint32_t> pipe_ids_;
  std::map<ino_t, unsigned> pipe_ends_;  // PipeEnds: what the tree itself holds
  std::map<HostPid, std::vector<FileView>> views_;
  std::set<HostPid> tree_;
};

// Looks at one descriptor or door without opening it. nullopt when it is gone.
std::optional<FileView> view_descriptor(HostPid pid, int fd);
std::optional<FileView> view_path(HostPid pid, const std::string& door);

}  // namespace mcr::kinds
