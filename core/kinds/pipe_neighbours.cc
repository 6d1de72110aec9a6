// Who holds the other end of a pipe.
#include <poll.h>

#include <algorithm>
#include <cctype>

#include "core/kinds/external.h"
#include "core/kinds/open_files.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::kinds {
namespace {

bool is_number(const std::string& name) {
  return std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); });
}

// What a process has open that may be a pipe or FIFO.
void note_links(const std::string& pid, std::multimap<std::string, HostPid>& holders) {
  std::vector<std::string> fds;
  try {
    fds = sys::list_directory("/proc/" + pid + "/fd");
  } catch (const Error&) {
    return;  // gone, or not ours to see
  }
  for (const std::string& fd : fds)
    if (auto link = sys::try_read_link("/proc/" + pid + "/fd/" + fd))
      if (link->starts_with("/") || link->starts_with("pipe:[")) holders.emplace(*link, HostPid(std::stoi(pid)));
}

}  // namespace

std::set<HostPid> OpenFiles::outsiders_with(const std::string& link) const {
  if (!holders_) {
    holders_.emplace();
    for (const std::string& name : sys::list_directory("/proc"))
      if (is_number(name) && name != std::to_string(sys::own_pid().get())) note_links(name, *holders_);
  }
  std::set<HostPid> outsiders;
  const auto [first, last] = holders_->equal_range(link);
  for (auto holder = first; holder != last; ++holder)
    if (!tree_.contains(holder->second)) outsiders.insert(holder->second);
  return outsiders;
}

std::optional<std::string> OpenFiles::find_holder(const FileView& file) const {
  const auto outsiders = outsiders_with(sys::try_read_link(file.door).value_or(file.link));
  return outsiders.empty() ? std::nullopt : std::optional(trace::describe_process(*outsiders.begin()));
}

// Paths may mean other files elsewhere (containers), and all masters have one: so the files themselves are compared.
std::optional<std::string> OpenFiles::holder_of_terminal(const std::string& path, const struct stat& status,
                                                         const std::string& info_line) const {
  for (const HostPid pid : outsiders_with(path)) {
    const std::string base = fmt::format("/proc/{}", pid);
    std::vector<std::string> fds;
    try {
      fds = sys::list_directory(base + "/fd");
    } catch (const Error&) {
      continue;
    }
    for (const std::string& fd : fds) {
      const auto other = sys::try_stat(base + "/fd/" + fd);
      if (!other || !is_same_file(*other, status)) continue;
      if (sys::try_read_text(base + "/fdinfo/" + fd).value_or("").find(info_line) != std::string::npos)
        return trace::describe_process(pid);
    }
  }
  return std::nullopt;
}

void OpenFiles::require_closed_pipe(const FileView& file) const {
  const unsigned ends = ends_of(file) & (kReader | kWriter);
  if (ends == (kReader | kWriter)) return;
  if (file.link.starts_with("pipe:[")) {
    UniqueFd copy;
    if (file.copy < 0) copy = sys::get_fd(sys::open_pidfd(file.pid).get(), file.fd);
    const short state = sys::poll_now(file.copy >= 0 ? file.copy : copy.get(), 0);
    if (state & (ends == kReader ? POLLHUP : POLLERR)) return;  // nobody holds the other end any more
  }
  const auto holder = find_holder(file);
  if (!holder && !file.link.starts_with("pipe:[")) return;
  if (!holder && sockets().may_hold_more()) return;  // perhaps a message does, which is read in the frozen program
  throw Error(
      Fault::refused,
      fmt::format("the other end of {} is held by {} outside of the tree", file.link,
                  holder.value_or("a process that cannot be seen")),
      "start the program with its input and output in files, or dump the common parent" + external_remedy(file));
}

}  // namespace mcr::kinds
