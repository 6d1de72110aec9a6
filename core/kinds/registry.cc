#include <fcntl.h>

#include <map>
#include <string_view>

#include "core/kinds/kind.h"
#include "core/kinds/kinds.h"
#include "core/sys/memory_object.h"
#include "core/sys/socket.h"

namespace mcr::kinds {

// The first that claims a file has it.
const std::vector<const Kind*>& all_kinds() {
  static const std::vector<const Kind*> kinds{
      process_file_kind(),   path_only_kind(),     terminal_kind(),      character_device_kind(), pipe_kind(),
      memfd_kind(),          posix_queue_kind(),   event_counter_kind(), timer_file_kind(),       signal_file_kind(),
      epoll_kind(),          pid_file_kind(),      inotify_kind(),       fanotify_kind(),         io_uring_kind(),
      namespace_file_kind(), regular_file_kind(),  unix_socket_kind(),   tcp_socket_kind(),       udp_socket_kind(),
      netlink_socket_kind(), packet_socket_kind(), raw_socket_kind(),    external_kind(),         pty_kind()};
  return kinds;
}

const Kind* kind_of(const FileView& file) {
  for (const Kind* kind : all_kinds())
    if (kind->claims(file)) return kind;
  return nullptr;
}

const Kind* kind_named(const std::string& name) {
  static const std::map<std::string_view, const Kind*> by_name = [] {
    std::map<std::string_view, const Kind*> kinds;
    for (const Kind* kind : all_kinds()) kinds.emplace(kind->name(), kind);
    return kinds;
  }();
  const auto found = by_name.find(name);
  return found == by_name.end() ? nullptr : found->second;
}

std::string describe_unclaimed(const FileView& file) {
  if (file.info.flags & O_PATH) return fmt::format("an O_PATH descriptor of {}", file.link);
  if (S_ISSOCK(file.status.st_mode))
    return fmt::format("a socket of {}", sys::protocol_name(file.door).value_or("an unknown family"));
  if (S_ISCHR(file.status.st_mode))
    return fmt::format("the device {} ({}:{})", file.link, file.status.st_rdev >> 8, file.status.st_rdev & 0xff);
  if (S_ISBLK(file.status.st_mode)) return fmt::format("the block device {}", file.link);
  if (file.link.starts_with("/secretmem")) return "memory of memfd_secret(2), which nobody else can read,";
  if (file.link.starts_with("/dmabuf:")) return fmt::format("the DMA buffer {}", file.link);
  if (sys::is_kernel_memory(file.status.st_dev))
    return fmt::format("a descriptor of the anonymous memory {}", file.link);
  if (file.link.starts_with("anon_inode:")) return fmt::format("an object of kind {}", file.link.substr(11));
  return fmt::format("{} (mode {:o})", file.link, file.status.st_mode);
}

}  // namespace mcr::kinds
