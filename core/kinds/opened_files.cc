#include "core/kinds/opened_files.h"

#include <fcntl.h>

#include "core/base/log.h"
#include "core/kinds/files_check.h"
#include "core/kinds/memfd.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

template <typename Record>
void enter(std::map<uint32_t, Record>& records, Record record, const char* what) {
  const uint32_t id = record.id();
  if (!records.emplace(id, std::move(record)).second)
    throw Error(Fault::image, fmt::format("files.img: {} {} is described twice", what, id),
                "the image is damaged or was made by a faulty program");
}

}  // namespace

OpenedFiles::OpenedFiles(const images::ImageReader& reader, RestorePolicy policy) : reader_(reader), policy_(policy) {
  auto records = reader.records("files.img");
  while (const auto type = records.next_type()) {
    if (*type == image::FileObject::descriptor()->full_name()) {
      auto object = records.read<image::FileObject>();
      check_object(object);
      enter(objects_, std::move(object), "object");
    } else if (*type == image::Ghost::descriptor()->full_name()) {
      auto ghost = records.read<image::Ghost>();
      check_ghost(ghost, reader);
      enter(ghosts_, std::move(ghost), "deleted file");
    } else if (*type == image::PipeData::descriptor()->full_name()) {
      auto data = records.read<image::PipeData>();
      check_pipe_data(data);
      enter(pipe_data_, std::move(data), "pipe content");
    } else if (*type == image::SysvSegment::descriptor()->full_name()) {
      segments_.add(records.read<image::SysvSegment>());
    } else {
      throw Error(Fault::image, fmt::format("files.img: a record of type {} does not belong there", *type));
    }
  }
}

void OpenedFiles::check(std::vector<Problem>& problems) const {
  for (const auto& [id, object] : objects_) {
    const Kind* kind = kind_named(object.kind());
    if (!kind)
      problems.push_back({fmt::format("object {}", id),
                          fmt::format("kind {} is not known to this version", object.kind()), "use a newer mini-criu"});
    else
      kind->check(object, *this, problems);
  }
}

const image::FileObject& OpenedFiles::object(uint32_t id) const {
  const auto found = objects_.find(id);
  if (found == objects_.end()) throw Error(Fault::image, fmt::format("files.img: there is no object {}", id));
  return found->second;
}

int OpenedFiles::open(uint32_t id) {
  auto& fd = opened_[id];
  if (fd.valid()) return fd.get();
  const image::FileObject& o = object(id);
  const Step step("open object {} {}", id, o.kind());
  const Kind* kind = kind_named(o.kind());
  if (!kind) throw Error(Fault::image, fmt::format("kind {} is not known", o.kind()));
  fd = kind->restore(o, *this);
  if (o.owner_signal() != 0) sys::set_owner_signal(fd.get(), o.owner_signal());
  return fd.get();
}

void OpenedFiles::finish_memory() {
  for (const auto& [id, holder] : ghost_files_) {
    const image::Ghost* ghost = find_ghost(id);
    if (!ghost || !ghost->has_memfd() || !is_sealed_late(*ghost)) continue;
    const Step step("seal {}", ghost->path());
    seal_memfd(sys::open(fmt::format("/proc/self/fd/{}", holder.get()), O_RDWR).get(), *ghost);
  }
  segments_.finish();
}

void OpenedFiles::fill_segment(int32_t id, const TakePiece& take) const {
  const image::Ghost* ghost = find_ghost(segments_.segment(id).ghost());
  if (!ghost) throw Error(Fault::image, fmt::format("files.img: segment {} has no content", id));
  read_content(reader_, *ghost, take);
}

std::map<uint32_t, uint64_t> OpenedFiles::huge_memory() const {
  std::map<uint32_t, uint64_t> bytes = segments_.huge_memory();
  for (const auto& [id, ghost] : ghosts_)
    if (ghost.memfd().huge_page_shift() != 0) {
      uint64_t stored = 0;
      for (const auto& extent : ghost.extents()) stored += extent.bytes();
      bytes[ghost.memfd().huge_page_shift()] += stored;
    }
  return bytes;
}

void OpenedFiles::close_all() {
  opened_.clear();
  pipes_.clear();
  ghost_files_.clear();
}

const image::Ghost* OpenedFiles::find_ghost(uint32_t id) const {
  const auto found = ghosts_.find(id);
  return found == ghosts_.end() ? nullptr : &found->second;
}

void OpenedFiles::for_each_ghost(const std::function<void(const image::Ghost&)>& visit) const {
  for (const auto& [id, ghost] : ghosts_) visit(ghost);
}

namespace {

constexpr const char* kGhostMark = "user.mini-criu.deleted-file";

// A name that an open file has for as long as this lives.
class PassingName {
 public:
  PassingName(int fd, std::string path) : path_(std::move(path)) { sys::link_open_file(fd, path_); }
  ~PassingName() {
    if (!sys::try_unlink_at(AT_FDCWD, path_)) log::warning("kinds", "{} could not be removed again", path_);
  }
  PassingName(const PassingName&) = delete;
  PassingName& operator=(const PassingName&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A file that has `path` as its last name, and has it no more: /proc shows the name and "(deleted)". It needs the name
// for an instant. Should we be killed in it, the mark on the file tells the next restore whose it is.
UniqueFd make_deleted_file(const std::string& path) {
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  const UniqueFd unnamed = sys::open(folder, O_RDWR | O_TMPFILE, 0600);
  const bool is_marked = sys::try_set_attribute(unnamed.get(), kGhostMark);
  std::string name = path;
  if (sys::has_attribute(name, kGhostMark)) sys::unlink_at(AT_FDCWD, name);
  if (sys::try_stat(name, false)) name += fmt::format(".mini-criu-{}", sys::own_pid());
  UniqueFd named;
  {
    const PassingName passing(unnamed.get(), name);
    named = sys::open(passing.path(), O_RDWR | O_NOFOLLOW);
  }
  if (is_marked) sys::remove_attribute(named.get(), kGhostMark);
  return named;
}

}  // namespace

std::string OpenedFiles::materialise_ghost(uint32_t id) {
  UniqueFd& holder = ghost_files_[id];
  if (!holder.valid()) {
    const image::Ghost* ghost = find_ghost(id);
    if (!ghost) throw Error(Fault::image, fmt::format("files.img: there is no deleted file {}", id));
    const Step step("deleted file {}", ghost->path());
    const UniqueFd file = ghost->has_memfd() ? make_memfd(*ghost) : make_deleted_file(ghost->path());
    fill_ghost(*ghost, file.get());
    if (ghost->has_memfd() && !is_sealed_late(*ghost)) seal_memfd(file.get(), *ghost);
    // Not open for writing: it may be an executable (execve(2), ETXTBSY; PR_SET_MM_MAP likewise).
    holder = sys::open(fmt::format("/proc/self/fd/{}", file.get()), O_RDONLY);
  }
  return fmt::format("/proc/self/fd/{}", holder.get());
}

UniqueFd OpenedFiles::open_unnamed_ghost(uint32_t id, int flags, int64_t offset) {
  const image::Ghost* ghost = find_ghost(id);
  if (!ghost) throw Error(Fault::image, fmt::format("files.img: there is no deleted file {}", id));
  const Step step("deleted file {}", ghost->path());
  const bool is_new = !ghost_files_.contains(id);
  UniqueFd fd = is_new ? sys::open(ghost->path().substr(0, ghost->path().rfind('/') + 1), flags, 0600)
                       : sys::open(materialise_ghost(id), flags & ~O_TMPFILE);
  if (is_new) {
    UniqueFd& holder = ghost_files_[id];
    holder = sys::open(fmt::format("/proc/self/fd/{}", fd.get()), O_RDWR);
    fill_ghost(*ghost, holder.get());
  }
  if (offset != 0) sys::seek(fd.get(), offset, SEEK_SET);
  return fd;
}

void OpenedFiles::fill_ghost(const image::Ghost& ghost, int file) const {
  const bool is_huge = sys::is_on_hugetlbfs(file);
  const auto page_bytes = static_cast<uint64_t>(sys::stat_fd(file).st_blksize);
  if (is_huge) sys::truncate_fd(file, ghost.size());  // only what is inside can be mapped
  read_content(reader_, ghost, [&](std::span<const std::byte> bytes, uint64_t at) {
    if (is_huge)
      sys::write_huge(file, bytes.data(), bytes.size(), at, page_bytes);
    else
      sys::pwrite_fully(file, bytes.data(), bytes.size(), at);
  });
  sys::truncate_fd(file, ghost.size());
  if (const struct stat now = sys::stat_fd(file); now.st_uid != ghost.uid() || now.st_gid != ghost.gid())
    sys::set_ownership(file, ghost.uid(), ghost.gid());
  sys::set_mode(file, ghost.mode() & 07777);
  sys::set_modification_time(file, ghost.mtime_ns());
}

OpenedFiles::PipeEnds& OpenedFiles::make_pipe(const image::Pipe& pipe) {
  auto [entry, is_new] = pipes_.try_emplace(pipe.pipe());
  PipeEnds& ends = entry->second;
  if (!is_new) return ends;
  const auto data = pipe_data_.find(pipe.data());
  if (data == pipe_data_.end())
    throw Error(Fault::image, fmt::format("files.img: there is no pipe content {}", pipe.data()));
  int filler = -1;
  if (pipe.fifo_path().empty()) {
    sys::Pipe made = sys::make_pipe(O_CLOEXEC | O_NONBLOCK);
    ends.reader = std::move(made.read_end), ends.writer = std::move(made.write_end);
    filler = ends.writer.get();
  } else {
    ends.holder = sys::open(pipe.fifo_path(), O_RDWR | O_NONBLOCK);
    filler = ends.holder.get();
  }
  if (sys::get_pipe_size(filler) != static_cast<int>(data->second.capacity()))
    sys::set_pipe_size(filler, static_cast<int>(data->second.capacity()));
  const bool is_packets = data->second.packets();
  if (is_packets) sys::set_status_flags(filler, O_NONBLOCK | O_DIRECT);
  for (const std::string& chunk : data->second.chunks()) sys::write_fully(filler, chunk.data(), chunk.size());
  if (is_packets) sys::set_status_flags(filler, O_NONBLOCK);
  return ends;
}

UniqueFd OpenedFiles::open_pipe_end(const image::FileObject& object, const image::Pipe& pipe) {
  PipeEnds& ends = make_pipe(pipe);
  const auto access = static_cast<int>(object.flags() & O_ACCMODE);
  UniqueFd end;
  if (!pipe.fifo_path().empty()) {
    end = sys::open(pipe.fifo_path(), access | O_NONBLOCK);
  } else if (access == O_RDONLY && !ends.reader_used) {
    end = sys::duplicate(ends.reader.get());
    ends.reader_used = true;
  } else if (access == O_WRONLY && !ends.writer_used) {
    end = sys::duplicate(ends.writer.get());
    ends.writer_used = true;
  } else {  // a second open file of the same end, made through /proc/self/fd in the program
    end = sys::open(fmt::format("/proc/self/fd/{}", ends.writer.get()), access | O_NONBLOCK);
  }
  sys::set_status_flags(end.get(), static_cast<int>(object.flags()));
  return end;
}

std::optional<std::string> OpenedFiles::terminal_path() const {
  for (const int fd : {0, 1, 2})
    if (sys::is_terminal(fd)) return sys::try_read_link(fmt::format("/proc/self/fd/{}", fd));
  return std::nullopt;
}

}  // namespace mcr::kinds
