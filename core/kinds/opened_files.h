// Restore: every object of files.img is opened once, here in the engine, and then handed to the processes that have it.
#pragma once

#include <functional>
#include <map>

#include "core/kinds/ghost_content.h"
#include "core/kinds/kind.h"
#include "core/kinds/sysv_segment.h"
#include "images/store.h"

namespace mcr::kinds {

enum class Validation { none, filesize, buildid };

struct RestorePolicy {
  bool shell_job = false;
  Validation validation = Validation::buildid;
};

class OpenedFiles {
 public:
  OpenedFiles(const images::ImageReader& reader, RestorePolicy policy);

  // All problems of this host, before anything is created.
  void check(std::vector<Problem>& problems) const;
  const mcr::image::FileObject& object(uint32_t id) const;  // throws Fault::image when there is none
  int open(uint32_t id);                                    // opens it at the first call; stays ours
  // Every process has mapped what it maps: seals, removed segments.
  void finish_memory();
  void close_all();

  Segments& segments() { return segments_; }
  const Segments& segments() const { return segments_; }
  void fill_segment(int32_t id, const TakePiece& take) const;
  // By the logarithm of the page size: bytes on huge pages that memfds and segments will take, mappings not counted.
  std::map<uint32_t, uint64_t> huge_memory() const;

  const RestorePolicy& policy() const { return policy_; }
  // For kinds.
  std::string materialise_ghost(uint32_t id);  // path under /proc of a file with the deleted one's content
  // A file made by O_TMPFILE, made so again.
  UniqueFd open_unnamed_ghost(uint32_t id, int flags, int64_t offset);
  const mcr::image::Ghost* find_ghost(uint32_t id) const;
  void for_each_ghost(const std::function<void(const mcr::image::Ghost&)>& visit) const;
  UniqueFd open_pipe_end(const mcr::image::FileObject& object, const mcr::image::Pipe& pipe);
  std::optional<std::string> terminal_path() const;  // of the invoking shell

 private:
  void fill_ghost(const mcr::image::Ghost& ghost, int file) const;
  struct PipeEnds {
    UniqueFd reader, writer, holder;
    bool reader_used = false, writer_used = false;
  };
  PipeEnds& make_pipe(const mcr::image::Pipe& pipe);

  const images::ImageReader& reader_;
  RestorePolicy policy_;
  std::map<uint32_t, mcr::image::FileObject> objects_;
  std::map<uint32_t, mcr::image::Ghost> ghosts_;
  std::map<uint32_t, mcr::image::PipeData> pipe_data_;
  std::map<uint32_t, UniqueFd> opened_;
  std::map<uint32_t, UniqueFd> ghost_files_;  // deleted again already; reached by further opens through /proc/self/fd
  std::map<uint64_t, PipeEnds> pipes_;
  Segments segments_;
};

}  // namespace mcr::kinds
