#include "core/kinds/open_files.h"

#include <fcntl.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/kinds/ghost_content.h"
#include "core/kinds/mapped_file.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::kinds {
namespace {

std::vector<int> descriptors_of(HostPid pid) {
  std::vector<int> fds;
  for (const std::string& name : sys::list_directory(fmt::format("/proc/{}/fd", pid))) fds.push_back(std::stoi(name));
  std::sort(fds.begin(), fds.end());
  return fds;
}

// Only the kernel's own mark counts, a name may end in the same words.
void strip_deleted(FileView& file) {
  constexpr std::string_view kMark = " (deleted)";
  if (file.status.st_nlink == 0 && file.link.ends_with(kMark)) file.link.resize(file.link.size() - kMark.size());
}

[[noreturn]] void refuse_unclaimed(const FileView& file) {
  throw Error(Fault::refused, fmt::format("{} cannot be saved yet", describe_unclaimed(file)),
              "let the program close it before the dump");
}

std::string describe(const FileView& file) {
  return file.fd >= 0 ? fmt::format("fd {} {}", file.fd, file.link) : fmt::format("{} {}", file.door, file.link);
}

}  // namespace

std::optional<FileView> view_path(HostPid pid, const std::string& door) {
  FileView file;
  file.pid = pid;
  file.door = door;
  auto link = sys::try_read_link(door);
  const auto status = sys::try_stat(door);
  if (!link || (!status && !is_mapping_door(door))) return std::nullopt;
  file.link = std::move(*link);
  if (status)
    file.status = *status;
  else if (!find_mapped_file(file))
    return std::nullopt;
  strip_deleted(file);
  return file;
}

std::optional<FileView> view_descriptor(HostPid pid, int fd) {
  auto file = view_path(pid, fmt::format("/proc/{}/fd/{}", pid, fd));
  if (!file) return std::nullopt;
  const auto text = sys::try_read_text(fmt::format("/proc/{}/fdinfo/{}", pid, fd));
  if (!text) return std::nullopt;
  file->fd = fd;
  file->info = procfs::parse_fdinfo(*text);
  return file;
}

static std::vector<FileView> view_descriptors(HostPid pid) {
  std::vector<FileView> files;
  for (const int fd : descriptors_of(pid))
    if (auto file = view_descriptor(pid, fd)) files.push_back(std::move(*file));  // else: closed meanwhile
  return files;
}

void OpenFiles::begin(const std::vector<HostPid>& tree) {
  for (const HostPid pid : tree) {
    tree_.insert(pid);
    note_pipe_ends(views_[pid] = view_descriptors(pid));
  }
}

void OpenFiles::note_pipe_ends(const std::vector<FileView>& files) {
  for (const FileView& file : files) {
    if (!S_ISFIFO(file.status.st_mode)) continue;
    const unsigned access = file.info.flags & O_ACCMODE;
    pipe_ends_[file.status.st_ino] |= access == O_RDONLY ? kReader : access == O_WRONLY ? kWriter : kReader | kWriter;
    if (file.info.flags & O_DIRECT) pipe_ends_[file.status.st_ino] |= kPackets;  // only the writing end says so
  }
}

void OpenFiles::look_at_descriptors(HostPid pid) const {
  for (const FileView& file : views_.at(pid)) {
    const Step step("{}", describe(file));
    const Kind* kind = kind_of(file);
    if (!kind) refuse_unclaimed(file);
    kind->look(file, *this);
  }
}

void OpenFiles::look_at_path(HostPid pid, const std::string& door) const {
  const auto file = view_path(pid, door);
  if (!file) return;
  const Step step("{}", describe(*file));
  const Kind* kind = kind_of(*file);
  if (!kind) refuse_unclaimed(*file);
  kind->look(*file, *this);
}

std::vector<image::Descriptor> OpenFiles::enter_descriptors(HostPid pid, int pidfd, images::ImageWriter& writer) {
  writer_ = &writer;
  std::vector<image::Descriptor> descriptors;
  for (FileView& file : views_.at(pid)) {
    const Step step("{}", describe(file));
    // An O_PATH descriptor has nothing but its path, and pidfd_getfd refuses it on some kernels.
    UniqueFd copy;
    if (!(file.info.flags & O_PATH)) copy = sys::get_fd(pidfd, file.fd);
    file.copy = copy.get();
    image::Descriptor descriptor;
    descriptor.set_fd(file.fd);
    descriptor.set_close_on_exec((file.info.flags & O_CLOEXEC) != 0);
    descriptor.set_file(find_or_enter(file));
    descriptors.push_back(std::move(descriptor));
  }
  return descriptors;
}

unsigned OpenFiles::ends_of(const FileView& file) const {
  const auto found = pipe_ends_.find(file.status.st_ino);
  return found == pipe_ends_.end() ? 0 : found->second;
}

// One open file description may be reached by many descriptors. Those that could be one share inode, position and
// flags; kcmp tells for certain.
uint32_t OpenFiles::find_or_enter(FileView& file) {
  const uint32_t flags = file.info.flags & ~static_cast<uint32_t>(O_CLOEXEC);
  auto& candidates = known_[{file.status.st_dev, file.status.st_ino, file.info.position, flags}];
  for (const Known& known : candidates)
    if (sys::compare_files(known.pid, known.fd, file.pid, file.fd) == 0) return known.id;
  const Kind* kind = kind_of(file);
  if (!kind) refuse_unclaimed(file);
  const uint32_t id = enter(file, *kind);
  candidates.push_back({file.pid, file.fd, id});
  return id;
}

uint32_t OpenFiles::enter(FileView& file, const Kind& kind) {
  kind.look(file, *this);
  image::FileObject object;
  object.set_id(static_cast<uint32_t>(objects_.size() + 1));
  object.set_kind(kind.name());
  object.set_flags(file.info.flags & ~static_cast<uint32_t>(O_CLOEXEC));
  object.set_offset(file.info.position);
  if (file.copy >= 0) {
    const sys::FileOwner owner = sys::get_owner(file.copy);
    object.set_owner_type(owner.type);
    object.set_owner_pid(owner.pid == 0 ? 0 : trace::number_inside(HostTid(owner.pid)));
    object.set_owner_signal(owner.signal);
  }
  kind.dump(file, *this, object);
  log::debug("kinds", "object {} is {} {}", object.id(), kind.name(), file.link);
  objects_.push_back(std::move(object));
  return objects_.back().id();
}

uint32_t OpenFiles::enter_path(HostPid pid, const std::string& door, uint32_t flags, images::ImageWriter& writer) {
  writer_ = &writer;
  auto file = view_path(pid, door);
  if (!file)
    throw Error(Fault::refused, fmt::format("{} cannot be read", door), "run as root, or with CAP_CHECKPOINT_RESTORE");
  const Step step("{}", describe(*file));
  file->info.flags = flags;
  auto [entry, is_new] = paths_.try_emplace({file->status.st_dev, file->status.st_ino, flags}, 0);
  if (!is_new) return entry->second;
  const Kind* kind = kind_of(*file);
  if (!kind) refuse_unclaimed(*file);
  return entry->second = enter(*file, *kind);
}

uint32_t OpenFiles::enter_ghost(const FileView& file) {
  auto [entry, is_new] = ghost_ids_.try_emplace({file.status.st_dev, file.status.st_ino}, 0);
  if (!is_new) return entry->second;
  const Step step("content of the deleted file");
  image::Ghost ghost;
  ghost.set_id(static_cast<uint32_t>(ghosts_.size() + 1));
  ghost.set_path(file.link);
  ghost.set_mode(file.status.st_mode);
  ghost.set_uid(file.status.st_uid);
  ghost.set_gid(file.status.st_gid);
  ghost.set_size(static_cast<uint64_t>(file.status.st_size));
  ghost.set_mtime_ns(file.status.st_mtim.tv_sec * 1'000'000'000 + file.status.st_mtim.tv_nsec);
  ghost.set_content_file(fmt::format("ghost-{}.img", ghost.id()));
  const UniqueFd source = sys::open(file.door, O_RDONLY | O_NONBLOCK);
  const UniqueFd content = writer_->pages(ghost.content_file());
  store_content(source.get(), content.get(), ghost);
  writer_->add_pages(ghost.content_file(), content.get());
  entry->second = ghost.id();
  ghosts_.push_back(std::move(ghost));
  return entry->second;
}

// tee(2) copies without consuming. Packets stay packets: one read returns one of them.
uint32_t OpenFiles::enter_pipe(const FileView& file, const std::string& fifo_path) {
  auto [entry, is_new] = pipe_ids_.try_emplace(file.status.st_ino, 0);
  if (!is_new) return entry->second;
  image::PipeData data;
  data.set_id(static_cast<uint32_t>(pipes_.size() + 1));
  data.set_pipe(file.status.st_ino);
  data.set_fifo_path(fifo_path);
  const bool readable = (file.info.flags & O_ACCMODE) != O_WRONLY;
  UniqueFd reader = readable ? sys::duplicate(file.copy) : sys::open(file.door, O_RDONLY | O_NONBLOCK);
  data.set_capacity(static_cast<uint32_t>(sys::get_pipe_size(reader.get())));
  size_t left = static_cast<size_t>(sys::bytes_readable(reader.get()));
  if (left > 0) {
    const sys::Pipe copy = sys::make_pipe(O_CLOEXEC | O_NONBLOCK);
    sys::set_pipe_size(copy.write_end.get(), static_cast<int>(data.capacity()));
    if (sys::tee(reader.get(), copy.write_end.get(), left) != left)
      throw Error(Fault::system, fmt::format("only a part of the {} bytes in the pipe could be copied", left));
    std::string buffer(left, '\0');
    while (left > 0) {
      const size_t n = sys::read_some(copy.read_end.get(), buffer.data(), buffer.size());
      if (n == 0) break;
      left -= n;
      data.add_chunks(buffer.substr(0, n));
    }
  }
  data.set_packets((ends_of(file) & kPackets) != 0 || data.chunks_size() > 1);
  entry->second = data.id();
  pipes_.push_back(std::move(data));
  return entry->second;
}

void OpenFiles::write(images::ImageWriter& writer) {
  auto records = writer.records("files.img");
  for (const auto& ghost : ghosts_) records.append(ghost);
  for (const auto& pipe : pipes_) records.append(pipe);
  for (const auto& segment : segments_) records.append(segment);
  for (const auto& object : objects_) records.append(object);
  records.finish();
  writer.add(records);
}

}  // namespace mcr::kinds
