// Who holds a pipe besides the tree.
#include <poll.h>

#include <algorithm>

#include "core/kinds/external.h"
#include "core/kinds/open_files.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::kinds {

std::optional<std::string> OpenFiles::find_holder(const FileView& file) const {
  const bool is_pipe = file.link.starts_with("pipe:[");
  const std::string link = is_pipe ? file.link : sys::try_read_link(file.door).value_or(file.link);
  for (const Outsiders::Holder& holder : outsiders_.holders_of(link, tree_))
    if (Outsiders::is_outside(holder, link, tree_)) return trace::describe_process(holder.pid);
  return std::nullopt;
}

bool OpenFiles::is_held_below(const FileView& file) const {
  const auto holders = outsiders_.holders_of(file.link, tree_);
  return std::ranges::any_of(holders, [&](const auto& one) { return Outsiders::is_below(one, file.link, tree_); });
}

// Paths may mean other files elsewhere (containers), and all masters have one: so the files themselves are compared.
std::optional<std::string> OpenFiles::holder_of_terminal(const std::string& path, const struct stat& status,
                                                         const std::string& info_line) const {
  for (const Outsiders::Holder& holder : outsiders_.holders_of(path, tree_)) {
    const auto other = sys::try_stat(fmt::format("/proc/{}/fd/{}", holder.pid, holder.fd));
    if (!other || !is_same_file(*other, status) || !Outsiders::is_outside(holder, path, tree_)) continue;
    const auto info = sys::try_read_text(fmt::format("/proc/{}/fdinfo/{}", holder.pid, holder.fd));
    if (info.value_or("").find(info_line) != std::string::npos) return trace::describe_process(holder.pid);
  }
  return std::nullopt;
}

// Whoever holds any end of it besides the tree would have another pipe than the tree after a restore.
void OpenFiles::require_closed_pipe(const FileView& file) const {
  const unsigned ends = ends_of(file) & (kReader | kWriter);
  const bool is_whole = ends == (kReader | kWriter), is_pipe = file.link.starts_with("pipe:[");
  bool is_closed = false;
  if (!is_whole && is_pipe) {
    UniqueFd own;
    if (file.copy < 0) own = sys::get_fd(trace::open_view_pidfd(file.pid).get(), file.fd);
    const int copy = file.copy >= 0 ? file.copy : own.get();
    // Nobody holds the other end any more; then only what waits in it can still be read by two.
    is_closed = (sys::poll_now(copy, 0) & (ends == kReader ? POLLHUP : POLLERR)) != 0;
    if (is_closed && (ends == kWriter || sys::bytes_readable(copy) <= 0)) return;
  }
  const bool is_complete = is_whole || is_closed || !is_pipe;
  if (is_complete && outsiders_.is_own_pipe(file.link)) return;
  const auto holder = find_holder(file);
  if (!holder && is_complete) return outsiders_.note_own_pipe(file.link);
  if (!holder && is_held_below(file)) return;
  if (!holder && sockets().may_hold_more()) return;  // perhaps a message does, which is read in the frozen program
  throw Error(
      Fault::refused,
      fmt::format("{} {} is held by {} outside of the tree", is_whole || is_closed ? "an end of" : "the other end of",
                  file.link, holder.value_or("a process that cannot be seen")),
      "start the program with its input and output in files, or dump the common parent" + external_remedy(file));
}

}  // namespace mcr::kinds
