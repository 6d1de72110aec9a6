// Files that are open in a message of a unix socket's queue (SCM_RIGHTS), and perhaps nowhere else.
#include "core/kinds/open_files.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

FileView view_own(int fd) {
  auto file = view_path(sys::own_pid(), fmt::format("/proc/self/fd/{}", fd));
  if (!file) throw Error(Fault::system, "a file in a message cannot be looked at");
  file->fd = fd;
  file->copy = fd;
  file->info = procfs::parse_fdinfo(sys::read_text(fmt::format("/proc/self/fdinfo/{}", fd)));
  return std::move(*file);
}

}  // namespace

void OpenFiles::collect_sockets(const std::function<int(HostPid)>& pidfd_of,
                                const std::function<void(const std::set<HostPid>&)>& hold) {
  const auto hold_owners = [&](const std::set<uint64_t>& inodes) {
    std::set<HostPid> owners;
    for (const auto& [pid, files] : views_)
      for (const FileView& file : files)
        if (is_socket(file) && inodes.contains(file.status.st_ino)) owners.insert(pid);
    hold(owners);
  };
  sockets_->collect(pidfd_of, policy_.tcp_established && !policy_.tcp_close, policy_.lock_table, hold_owners);
  for (const UniqueFd& file : sockets_->in_flight()) note_pipe_ends({view_own(file.get())});
}

uint32_t OpenFiles::enter_in_flight(int fd) {
  FileView& file = in_flight_views_.emplace_back(view_own(fd));  // what it refers to is asked for later
  const Step step("{} in a message", file.link);
  const uint32_t id = find_or_enter(file);
  first_views_.try_emplace(id, &file);
  ids_[{file.pid, fd}] = id;
  return id;
}

void OpenFiles::dump_queue(uint64_t inode, google::protobuf::RepeatedPtrField<image::SocketMessage>& queue) {
  for (const WaitingMessage& waiting : sockets_->queue(inode)) {
    image::SocketMessage& message = *queue.Add();
    message = waiting.message;
    for (const int fd : waiting.files) message.add_files()->set_file(enter_in_flight(fd));
  }
}

}  // namespace mcr::kinds
