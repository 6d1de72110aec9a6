// Open files (open file descriptions, open(2)) that processes outside of the tree have too. After a restore each side
// has one of its own.
#include <fcntl.h>

#include <algorithm>
#include <map>

#include "core/kinds/external.h"
#include "core/kinds/open_files.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::kinds {
namespace {

constexpr int kEqual = 0, kLess = 1;  // kcmp(2)

// What is lost: the one side's counting, arming, watching, sending or receiving would not be seen by the other.
bool has_state(const FileView& file) {
  return is_socket(file) || file.link == "anon_inode:[eventfd]" || file.link == "anon_inode:[timerfd]" ||
         file.link == "anon_inode:[eventpoll]" || file.link == "anon_inode:inotify" ||
         file.link == "anon_inode:[inotify]" || file.link == "anon_inode:[fanotify]" ||
         file.link == "anon_inode:[io_uring]";
}

// A keeper of an engine that was killed has sockets of the program for some seconds, and uses none of them.
bool is_mini_criu(HostPid pid) {
  const auto theirs = sys::try_stat(fmt::format("/proc/{}/exe", pid)), own = sys::try_stat("/proc/self/exe");
  return theirs && own && is_same_file(*theirs, *own);
}

// Who appends is told by the kernel where the end is, whoever has written.
bool has_position(const FileView& file) {
  return S_ISREG(file.status.st_mode) && file.link.starts_with("/") && (file.info.flags & (O_APPEND | O_PATH)) == 0;
}

// The open files of one link, each once, in the order of kcmp(2). Nothing stands still: what is closed meanwhile is not
// found, and not missed.
class Sorted {
 public:
  void add(const FileView& file) {
    const auto place = place_of(file.pid, file.fd);
    if (place == files_.end() || compare(**place, file.pid, file.fd) != kEqual) files_.insert(place, &file);
  }
  const FileView* find(HostPid pid, int fd) const {
    const auto place = place_of(pid, fd);
    return place != files_.end() && compare(**place, pid, fd) == kEqual ? *place : nullptr;
  }

 private:
  static std::optional<int> compare(const FileView& file, HostPid pid, int fd) {
    return sys::try_compare_files(file.pid, file.fd, pid, fd);
  }
  std::vector<const FileView*>::const_iterator place_of(HostPid pid, int fd) const {
    return std::partition_point(files_.begin(), files_.end(),
                                [&](const FileView* file) { return compare(*file, pid, fd) == kLess; });
  }
  std::vector<const FileView*> files_;
};

std::string describe(const FileView& file) {
  return fmt::format("fd {} {} of process {}", file.fd, file.link, file.pid);
}

[[noreturn]] void refuse_shared(const FileView& file, HostPid other) {
  throw Error(Fault::refused,
              fmt::format("{} is one open file with a descriptor of {} outside of the tree", describe(file),
                          trace::describe_process(other)),
              "after a restore each would have one of its own: dump the common parent, or let one of them close it" +
                  external_remedy(file));
}

std::string tell_of_connection(const FileView& file, HostPid other) {
  return fmt::format(
      "{} is one open file with a descriptor of {} outside of the tree, which keeps the connection; the program gets "
      "another one at the restore (--ext-unix-sk)",
      describe(file), trace::describe_process(other));
}

std::string tell_of_position(const FileView& file, const std::set<HostPid>& others) {
  constexpr size_t kMostNamed = 3;
  std::string names;
  size_t left = others.size();
  for (const HostPid other : others) {
    if (others.size() - left == kMostNamed) break;
    names += (names.empty() ? "" : ", ") + trace::describe_process(other);
    --left;
  }
  if (left > 0) names += fmt::format(" and {} more", left);
  return fmt::format(
      "{} is one open file with a descriptor of {} outside of the tree: after a restore each has a position of its "
      "own, "
      "and may overwrite what the other writes. Files that several write to are opened with O_APPEND (>>)",
      describe(file), names);
}

}  // namespace

void OpenFiles::look_at_sharers(Obstacles& obstacles) const {
  std::map<std::string, std::vector<const FileView*>> ours;
  const auto note = [&](const FileView& file) {
    // One of very many, not looked at before the freeze: at least it is known then that nobody has it.
    if (!knows_all_ends_ && file.link.starts_with("pipe:[") && !outsiders_.has_any(file.link, tree_))
      outsiders_.note_own_pipe(file.link);
    if ((!has_state(file) && !has_position(file)) || is_external(file)) return;
    const std::string link = file.name_gone ? file.link + " (deleted)" : file.link;
    if (outsiders_.has_any(link, tree_)) ours[link].push_back(&file);
  };
  for (const auto& [pid, files] : views_) std::for_each(files.begin(), files.end(), note);
  const std::vector<FileView> rest = rest_of_interest();
  std::for_each(rest.begin(), rest.end(), note);
  for (const auto& [link, files] : ours) {
    Sorted sorted;
    for (const FileView* file : files) sorted.add(*file);
    std::map<const FileView*, std::set<HostPid>> shared;
    for (const Outsiders::Holder& holder : outsiders_.holders_of(link, tree_)) {
      const FileView* file = sorted.find(holder.pid, holder.fd);
      if (!file || !Outsiders::is_outside(holder, link, tree_)) continue;
      if (is_socket(*file) && is_mini_criu(holder.pid)) continue;
      const Obstacles::About process(obstacles, file->pid), about(obstacles, file->fd);
      if (obstacles.pass([&] {
            if (has_state(*file) && !is_connected_again(*file)) refuse_shared(*file, holder.pid);
          }))
        shared[file].insert(holder.pid);
    }
    for (const auto& [file, others] : shared)
      obstacles.warn("kinds",
                     is_socket(*file) ? tell_of_connection(*file, *others.begin()) : tell_of_position(*file, others));
  }
}

// The user wants it so: by --ext-unix-sk the other end gets to see a new connection anyway.
bool OpenFiles::is_connected_again(const FileView& file) const {
  if (!is_socket(file) || !knows_all_ends_ || !policy_.allows_outside_peer(file.status.st_ino)) return false;
  const procfs::UnixSocket* socket = sockets().find_unix(file.status.st_ino);
  return socket && socket->has_peer && socket->peer != 0 && !sockets().holds(socket->peer);
}

}  // namespace mcr::kinds
