// Who holds the other end of a pipe.
#include <poll.h>

#include <algorithm>
#include <cctype>

#include "core/kinds/open_files.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

bool is_number(const std::string& name) {
  return std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); });
}

// "4711 (cat)" of a process outside of the tree that has the pipe or FIFO open; nullopt: nobody.
std::optional<std::string> find_holder(const FileView& file, const std::set<HostPid>& tree) {
  for (const std::string& name : sys::list_directory("/proc")) {
    if (!is_number(name) || tree.contains(HostPid(std::stoi(name))) || name == std::to_string(sys::own_pid().get()))
      continue;
    std::vector<std::string> fds;
    try {
      fds = sys::list_directory("/proc/" + name + "/fd");
    } catch (const Error&) {
      continue;  // gone, or not ours to see
    }
    for (const std::string& fd : fds) {
      if (sys::try_read_link("/proc/" + name + "/fd/" + fd) != file.link) continue;
      auto comm = sys::try_read_text("/proc/" + name + "/comm").value_or("?");
      std::erase(comm, '\n');
      return fmt::format("{} ({})", name, comm);
    }
  }
  return std::nullopt;
}

}  // namespace

void OpenFiles::require_closed_pipe(const FileView& file) const {
  const unsigned ends = ends_of(file) & (kReader | kWriter);
  if (ends == (kReader | kWriter)) return;
  if (file.link.starts_with("pipe:[")) {
    UniqueFd copy;
    if (file.copy < 0) copy = sys::get_fd(sys::open_pidfd(file.pid).get(), file.fd);
    const short state = sys::poll_now(file.copy >= 0 ? file.copy : copy.get(), 0);
    if (state & (ends == kReader ? POLLHUP : POLLERR)) return;  // nobody holds the other end any more
  }
  const auto holder = find_holder(file, tree_);
  if (!holder && !file.link.starts_with("pipe:[")) return;
  throw Error(Fault::refused,
              fmt::format("the other end of {} is held by {} outside of the tree", file.link,
                          holder.value_or("a process that cannot be seen")),
              "start the program with its input and output in files, or dump the common parent");
}

}  // namespace mcr::kinds
