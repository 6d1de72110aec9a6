#include "core/kinds/opened_files.h"

#include <fcntl.h>
#include <linux/capability.h>

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "core/base/log.h"
#include "core/base/two_threads.h"
#include "core/kinds/file_names.h"
#include "core/kinds/files_check.h"
#include "core/kinds/kinds.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/path_walk.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

constexpr size_t kManyFiles = 256;

// What decides how a plain file is looked at.
struct Look {
  std::string_view body;
  uint32_t flags = 0;
  bool operator==(const Look&) const = default;
};
struct LookHash {
  size_t operator()(const Look& look) const { return std::hash<std::string_view>()(look.body) ^ look.flags; }
};

template <typename Record>
void enter(std::map<uint32_t, Record>& records, Record record, const char* what) {
  const uint32_t id = record.id();
  if (!records.emplace(id, std::move(record)).second)
    throw Error(Fault::image, fmt::format("files.img: {} {} is described twice", what, id),
                "the image is damaged or was made by a faulty program");
}

}  // namespace

bool is_path(const std::string& path) {
  return !path.empty() && path.front() == '/' && path.find('\0') == std::string::npos;
}

OpenedFiles::OpenedFiles(const images::ImageReader& reader, RestorePolicy policy)
    : reader_(reader), policy_(std::move(policy)), inherited_(policy_.inherited), deleted_(reader) {
  auto records = reader.records("files.img");
  std::vector<image::FileObject> objects;
  while (const auto type = records.next_type()) {
    if (*type == image::FileObject::descriptor()->full_name()) {
      objects.push_back(records.read<image::FileObject>());
    } else if (*type == image::Ghost::descriptor()->full_name()) {
      auto ghost = records.read<image::Ghost>();
      check_ghost(ghost, reader);
      deleted_.add(std::move(ghost));
    } else if (*type == image::RemapLink::descriptor()->full_name()) {
      add(records.read<image::RemapLink>());
    } else if (*type == image::PipeData::descriptor()->full_name()) {
      auto data = records.read<image::PipeData>();
      check_pipe_data(data);
      enter(pipe_data_, std::move(data), "pipe content");
    } else if (*type == image::SysvSegment::descriptor()->full_name()) {
      segments_.add(records.read<image::SysvSegment>());
    } else if (*type == image::Pty::descriptor()->full_name()) {
      ptys_.add(records.read<image::Pty>());
    } else {
      throw Error(Fault::image, fmt::format("files.img: a record of type {} does not belong there", *type));
    }
  }
  for (auto& object : objects) add(std::move(object));
  number_objects();
}

void OpenedFiles::number_objects() {
  if (objects_.empty() || objects_.rbegin()->first / 2 > objects_.size()) return;
  by_number_.resize(size_t{objects_.rbegin()->first} + 1);
  for (const auto& [id, object] : objects_) by_number_[id] = &object;
}

void OpenedFiles::add(image::RemapLink link) {
  const std::string& name = link.path();
  if (!is_path(name) || name.compare(name.rfind('/') + 1, kRemapPrefix.size(), kRemapPrefix) != 0)
    throw Error(Fault::image, "files.img: a temporary link of another name than they have");
  std::string path = link.path();
  remaps_.emplace(std::move(path), std::move(link));
}

OpenedFiles::~OpenedFiles() {
  for (const auto& undo : to_undo_) undo();
}

void OpenedFiles::add(image::FileObject object) {
  check_object(object);
  image::RegularFile file;
  if (object.body().Is<image::RegularFile>() && object.body().UnpackTo(&file)) {
    if (file.deleted()) deleted_.expect(file.ghost(), object.id(), file.path(), object.flags());
    regular_files_.emplace_hint(regular_files_.end(), object.id(), std::move(file));
  }
  image::CharDevice device;
  if (object.body().Is<image::CharDevice>() && object.body().UnpackTo(&device) && device.ghost() != 0)
    deleted_.expect(device.ghost(), object.id(), device.path(), object.flags() | O_NOCTTY);
  // The signal tells the number by which it was asked for (si_fd): that is for the program itself to do.
  if ((object.flags() & O_ASYNC) && !inherited_.find(object)) asynchronous_.insert(object.id());
  object.set_flags(object.flags() & ~uint32_t{O_ASYNC});
  enter(objects_, std::move(object), "object");
}

// fcntl(2), F_SETPIPE_SZ: only CAP_SYS_RESOURCE goes beyond the limit.
void OpenedFiles::check_capacities(std::vector<Problem>& problems) const {
  if (sys::has_capability(CAP_SYS_RESOURCE)) return;
  const auto text = sys::try_read_text("/proc/sys/fs/pipe-max-size");
  const uint64_t most = text ? std::stoull(*text) : 1u << 20;
  for (const auto& [id, data] : pipe_data_)
    if (data.capacity() > most)
      problems.push_back(
          {data.fifo_path().empty() ? fmt::format("pipe {}", data.pipe()) : data.fifo_path(),
           fmt::format("holds {} bytes, but pipes here may hold {}", data.capacity(), most),
           fmt::format("write {} to /proc/sys/fs/pipe-max-size, or give CAP_SYS_RESOURCE", data.capacity())});
}

void OpenedFiles::check_outside_masters(std::vector<Problem>& problems) const {
  std::map<uint32_t, bool> has_master;
  image::PtyEnd end;
  for (const auto& [id, object] : objects_)
    if (object.body().UnpackTo(&end) && end.pty() != 0 && !inherited_.find(object))
      has_master[end.pty()] |= end.master();
  for (const auto& [id, has] : has_master)
    if (!has) ptys_.check_outside(id, policy_.takes_masters, problems);
}

void OpenedFiles::check(std::vector<Problem>& problems) const {
  host_sockets_->forget();
  check_capacities(problems);
  check_outside_masters(problems);
  inherited_.check(objects_, problems);
  check_waiting_connections(*this);
  std::vector<const image::FileObject*> plain;
  std::map<uint32_t, std::vector<Problem>> of_plain;
  std::unordered_set<Look, LookHash> looked_at;
  for (const auto& [id, object] : objects_) {
    if (!is_plain(object)) continue;
    of_plain.emplace_hint(of_plain.end(), id, std::vector<Problem>());
    // One file that is open many times is asked about once.
    if (looked_at.insert({object.body().value(), object.flags()}).second) plain.push_back(&object);
  }
  try_by_two_threads(plain.size(), kManyFiles, [&](size_t i) { check_one(*plain[i], of_plain.at(plain[i]->id())); });
  for (const auto& [id, object] : objects_) {
    if (inherited_.find(object)) continue;
    if (const auto found = of_plain.find(id); found != of_plain.end())
      std::ranges::move(found->second, std::back_inserter(problems));
    else
      check_one(object, problems);
  }
}

// A file with a name, about which nothing has to be asked but the file system.
bool OpenedFiles::is_plain(const image::FileObject& object) const {
  if (object.kind() != regular_file_kind()->name() || object.owner_signal() != 0 || inherited_.find(object))
    return false;
  const image::RegularFile* file = regular_file(object.id());
  return file && !file->deleted();
}

// A path that somebody else has led elsewhere is a problem as others are.
void OpenedFiles::check_one(const image::FileObject& object, std::vector<Problem>& problems) const {
  const Kind* kind = kind_named(object.kind());
  if (!kind)
    return problems.push_back({fmt::format("object {}", object.id()),
                               fmt::format("kind {} is not known to this version", object.kind()),
                               "use a newer mini-criu"});
  try {
    kind->check(object, *this, problems);
  } catch (const Error& error) {
    if (error.fault() != Fault::refused || error.trail().empty()) throw;
    problems.push_back({error.trail().back(), error.reason(), error.remedy()});
  }
}

HostPid OpenedFiles::host_pid(int32_t pid) const {
  const auto found = host_pids_.find(pid);
  if (found == host_pids_.end()) throw Error(Fault::image, fmt::format("process {} is not in the image", pid));
  return found->second;
}

const image::FileObject& OpenedFiles::object(uint32_t id) const {
  if (id < by_number_.size() && by_number_[id]) return *by_number_[id];
  const auto found = objects_.find(id);
  if (found == objects_.end()) throw Error(Fault::image, fmt::format("files.img: there is no object {}", id));
  return found->second;
}

const image::RegularFile* OpenedFiles::regular_file(uint32_t id) const {
  const auto found = regular_files_.find(id);
  return found == regular_files_.end() ? nullptr : &found->second;
}

int OpenedFiles::open(uint32_t id) {
  auto& fd = opened_[id];
  if (!fd.valid()) fd = open_now(object(id));
  return fd.get();
}

UniqueFd OpenedFiles::open_now(const image::FileObject& o) {
  const Step step("open object {} {}", o.id(), o.kind());
  if (const auto given = inherited_.find(o)) return sys::duplicate(*given);
  const Kind* kind = kind_named(o.kind());
  if (!kind) throw Error(Fault::image, fmt::format("kind {} is not known", o.kind()));
  UniqueFd fd = kind->restore(o, *this);
  if (o.owner_signal() != 0 && !kind->late(o)) sys::set_owner_signal(fd.get(), o.owner_signal());
  return fd;
}

// Stretches of plain files by two threads, everything else in its turn.
void OpenedFiles::open_all(const std::vector<uint32_t>& ids) {
  std::vector<uint32_t> plain;
  const auto open_those = [&] {
    open_plain(plain);
    plain.clear();
  };
  for (const uint32_t id : ids) {
    if (const auto known = opened_.find(id); known != opened_.end() && known->second.valid()) continue;
    if (is_plain(object(id))) {
      plain.push_back(id);
      continue;
    }
    open_those();
    open(id);
  }
  open_those();
}

void OpenedFiles::open_plain(const std::vector<uint32_t>& ids) {
  std::vector<uint32_t> once(ids);
  std::ranges::sort(once);
  once.erase(std::unique(once.begin(), once.end()), once.end());
  std::vector<UniqueFd> files(once.size());
  try_by_two_threads(once.size(), kManyFiles, [&](size_t i) { files[i] = open_now(object(once[i])); });
  for (size_t i = 0; i < once.size(); ++i) opened_[once[i]] = std::move(files[i]);
}

void OpenedFiles::finish_memory() {
  deleted_.finish_memory();
  segments_.finish();
}

void OpenedFiles::make_ptys() {
  std::vector<const image::FileObject*> ends;
  for (const auto& [id, object] : objects_)
    if (object.body().Is<image::PtyEnd>() && !inherited_.find(object)) ends.push_back(&object);
  ptys_.make(ends);
}

void OpenedFiles::connect() {
  for (const auto& [id, fd] : opened_) {
    const image::FileObject& o = object(id);
    if (inherited_.find(o)) continue;  // given as it is, perhaps of a kind that is not known here
    const Step step("connect object {} {}", id, o.kind());
    kind_named(o.kind())->connect(o, fd.get(), *this);
  }
}

void OpenedFiles::start() {
  for (const auto& [id, fd] : opened_) {
    const image::FileObject& o = object(id);
    if (inherited_.find(o)) continue;
    const Step step("start object {} {}", id, o.kind());
    kind_named(o.kind())->start(o, fd.get(), *this);
  }
  ptys_.start_outside();
}

void OpenedFiles::fill_segment(int32_t id, const TakePiece& take) const {
  const image::Ghost* ghost = find_ghost(segments_.segment(id).ghost());
  if (!ghost) throw Error(Fault::image, fmt::format("files.img: segment {} has no content", id));
  read_content(reader_, *ghost, take);
}

std::map<uint32_t, uint64_t> OpenedFiles::huge_memory() const {
  std::map<uint32_t, uint64_t> bytes = segments_.huge_memory();
  deleted_.for_each([&](const image::Ghost& ghost) {
    if (ghost.memfd().huge_page_shift() == 0) return;
    uint64_t stored = 0;
    for (const auto& extent : ghost.extents()) stored += extent.bytes();
    bytes[ghost.memfd().huge_page_shift()] += stored;
  });
  return bytes;
}

std::optional<LateOpen> OpenedFiles::late(uint32_t id) const {
  const image::FileObject& o = object(id);
  const Kind* kind = kind_named(o.kind());
  return kind ? kind->late(o) : std::nullopt;
}

void OpenedFiles::keep_late(uint32_t id, UniqueFd file) {
  if (const int signal = object(id).owner_signal(); signal != 0) sys::set_owner_signal(file.get(), signal);
  late_[id] = std::move(file);
}

std::optional<int> OpenedFiles::opened_late(uint32_t id) const {
  const auto found = late_.find(id);
  return found == late_.end() ? std::nullopt : std::optional(found->second.get());
}

// The position of a file like maps is found by printing it up to there.
void OpenedFiles::seek_late() {
  for (const auto& [id, file] : late_) {
    const Step step("object {}", id);
    if (const int64_t offset = object(id).offset(); offset != 0) sys::seek(file.get(), offset, SEEK_SET);
  }
}

std::optional<std::string> OpenedFiles::path_of(uint32_t id) const {
  const image::FileObject& o = object(id);
  image::RegularFile file;
  image::CharDevice device;
  image::Pipe pipe;
  if (o.body().UnpackTo(&file)) return file.deleted() ? std::nullopt : std::optional(file.path());
  if (o.body().UnpackTo(&device)) return device.ghost() != 0 ? std::nullopt : std::optional(device.path());
  if (o.body().UnpackTo(&pipe) && !pipe.fifo_path().empty() && pipe.ghost() == 0) return pipe.fifo_path();
  return std::nullopt;
}

bool OpenedFiles::has_process(pid_t pid) const {
  const auto& pids = reader_.inventory().pids();
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

void OpenedFiles::close_all() {
  opened_.clear();
  late_.clear();
  inherited_.close_all();
  unix_sockets_.close_all();
  ptys_.close_all();
  pipes_.clear();
  deleted_.close_all();
}

std::optional<struct stat> OpenedFiles::stat_named(const std::string& path, bool is_link) const {
  const auto place = find_named(path, is_link);
  return place ? std::optional(sys::stat_fd(place->get())) : std::nullopt;
}

std::optional<UniqueFd> OpenedFiles::find_named(const std::string& path, bool is_link) const {
  if (auto place = sys::try_open_path(path, is_link ? O_PATH | O_NOFOLLOW : O_PATH)) return place;
  return open_by_handle(path, O_PATH);
}

UniqueFd OpenedFiles::open_named(const std::string& path, uint32_t flags, bool is_link) const {
  const int wanted = static_cast<int>(flags) | O_NOCTTY;
  if (!is_link && !remaps_.contains(path)) return sys::open_path(path, wanted);
  if (!sys::try_open_path(path, O_PATH | O_NOFOLLOW))
    if (auto fd = open_by_handle(path, flags)) return std::move(*fd);
  if (!is_link || (flags & O_NOFOLLOW)) return sys::open_path(path, wanted);
  const UniqueFd link = sys::open_path(path, O_PATH | O_NOFOLLOW);  // a magic link leads to it, and not further
  return sys::open(fmt::format("/proc/self/fd/{}", link.get()), static_cast<int>(flags));
}

// An earlier restore has removed the link; the file is there as long as another name of it is.
std::optional<UniqueFd> OpenedFiles::open_by_handle(const std::string& path, uint32_t flags) const {
  const auto found = remaps_.find(path);
  if (found == remaps_.end() || found->second.handle().empty()) return std::nullopt;
  const auto folder = sys::try_open_path(folder_of(path), O_RDONLY | O_DIRECTORY);
  if (!folder) return std::nullopt;
  auto fd = sys::open_handle(folder->get(), {found->second.handle_type(), found->second.handle()},
                             static_cast<int>(flags & ~uint32_t{O_NOFOLLOW}));
  if (fd && sys::stat_fd(fd->get()).st_ino != found->second.inode()) return std::nullopt;
  return fd;
}

void OpenedFiles::remove_remap_links() {
  for (const auto& [path, link] : remaps_) try {
      const auto folder = sys::try_open_path(folder_of(path), O_PATH | O_DIRECTORY);
      const std::string name = path.substr(path.rfind('/') + 1);
      const auto status = folder ? sys::try_stat_at(folder->get(), name) : std::nullopt;
      if (!status || status->st_ino != link.inode()) continue;
      if (status->st_nlink < 2)
        log::warning("kinds", "{} stays: it is the last name of a file that this image needs", path);
      else if (!sys::try_unlink_at(folder->get(), name))
        log::warning("kinds", "the temporary link {} could not be removed", path);
    } catch (const Error& error) {  // the program runs already
      log::warning("kinds", "the temporary link {} stays: {}", path, error.what());
    }
}

OpenedFiles::PipeEnds& OpenedFiles::make_pipe(const image::Pipe& pipe) {
  const auto data = pipe_data_.find(pipe.data());
  if (data == pipe_data_.end())
    throw Error(Fault::image, fmt::format("files.img: there is no pipe content {}", pipe.data()));
  if (data->second.fifo_path().empty() != pipe.fifo_path().empty())
    throw Error(Fault::image, fmt::format("files.img: pipe content {} is that of another pipe", pipe.data()));
  auto [entry, is_new] = pipes_.try_emplace(pipe.data());
  PipeEnds& ends = entry->second;
  if (!is_new) return ends;
  int filler = -1;
  if (pipe.fifo_path().empty()) {
    sys::Pipe made = sys::make_pipe(O_CLOEXEC | O_NONBLOCK);
    ends.reader = std::move(made.read_end), ends.writer = std::move(made.write_end);
    filler = ends.writer.get();
  } else {
    ends.door = pipe.ghost() != 0 ? deleted_.door(pipe.ghost()) : pipe.fifo_path();
    ends.holder = pipe.ghost() != 0 ? sys::open(ends.door, O_RDWR | O_NONBLOCK)
                                    : open_named(pipe.fifo_path(), O_RDWR | O_NONBLOCK);
    if (!S_ISFIFO(sys::stat_fd(ends.holder.get()).st_mode))
      throw Error(Fault::refused, fmt::format("{} is not a named pipe here", pipe.fifo_path()));
    filler = ends.holder.get();
  }
  if (sys::get_pipe_size(filler) != static_cast<int>(data->second.capacity()))
    sys::set_pipe_size(filler, static_cast<int>(data->second.capacity()));
  const bool is_packets = data->second.packets();
  if (is_packets) sys::set_status_flags(filler, O_NONBLOCK | O_DIRECT);
  for (const std::string& chunk : data->second.chunks()) sys::write_fully(filler, chunk.data(), chunk.size());
  if (is_packets) sys::set_status_flags(filler, O_NONBLOCK);
  if (pipe.ghost() != 0) deleted_.set_time(pipe.ghost());
  return ends;
}

UniqueFd OpenedFiles::open_pipe_end(const image::FileObject& object, const image::Pipe& pipe) {
  PipeEnds& ends = make_pipe(pipe);
  const auto access = static_cast<int>(object.flags() & O_ACCMODE);
  UniqueFd end;
  if (!pipe.fifo_path().empty()) {
    end = pipe.ghost() != 0 ? sys::open(ends.door, access | O_NONBLOCK)
                            : open_named(pipe.fifo_path(), static_cast<uint32_t>(access | O_NONBLOCK));
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
