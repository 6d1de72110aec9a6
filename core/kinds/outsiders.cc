#include "core/kinds/outsiders.h"

#include <fcntl.h>

#include <algorithm>
#include <future>
#include <span>

#include "core/base/aside.h"
#include "core/base/error.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

bool is_number(const std::string& name) {
  return name.find_first_not_of("0123456789") == std::string::npos;
}

std::string door_of(const Outsiders::Holder& holder) {
  return fmt::format("/proc/{}/fd/{}", holder.pid, holder.fd);
}

// Of this no two processes have anything in common that a dump could split.
bool is_of_interest(const std::string& link) {
  return link != "/dev/null";
}

Outsiders::Links read_some(std::span<const std::string> processes) {
  Outsiders::Links links;
  for (const std::string& name : processes) {
    int code = 0;
    const auto folder = sys::probe_open("/proc/" + name + "/fd", O_RDONLY | O_DIRECTORY, code);
    if (!folder) continue;  // gone, or not ours to see
    const auto fds = sys::try_list_directory_fd(folder->get());
    if (!fds) continue;  // it has ended meanwhile
    for (const std::string& fd : *fds)
      if (auto link = sys::try_read_link_at(folder->get(), fd); link && is_of_interest(*link))
        links.emplace(std::move(*link), Outsiders::Holder{HostPid(std::stoi(name)), std::stoi(fd)});
  }
  return links;
}

// Of the tree, or below it. What has ended meanwhile shares nothing with anybody.
bool is_member(HostPid process, const std::set<HostPid>& tree) {
  for (HostPid pid = process; pid.get() > 1;) {
    if (tree.contains(pid)) return true;
    const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", pid));
    if (!text) return true;
    pid = HostPid(procfs::parse_stat(*text).ppid);
  }
  return false;
}

bool is_in(const Outsiders::Links& links, const std::string& link, const std::set<HostPid>& tree) {
  const auto [first, last] = links.equal_range(link);
  return std::any_of(first, last, [&](const auto& entry) { return !tree.contains(entry.second.pid); });
}

}  // namespace

// The time is the kernel's, making up the folders: two threads share it.
void Outsiders::read_all(const std::set<HostPid>& tree) {
  std::vector<std::string> processes;
  const std::string self =
      std::to_string(sys::own_pid().get());  // it neither reads nor writes what it was started with
  for (std::string& name : sys::list_directory("/proc"))
    if (is_number(name) && name != self && !tree.contains(HostPid(std::stoi(name))))
      processes.push_back(std::move(name));
  const auto all = std::span<const std::string>(processes);
  auto other = begin_aside(read_some, all.first(all.size() / 2));
  links_ = read_some(all.subspan(all.size() / 2));
  links_->merge(other.get());
}

std::vector<Outsiders::Holder> Outsiders::holders_of(const std::string& link, const std::set<HostPid>& tree) {
  if (!links_) read_all(tree);
  std::vector<Holder> holders;
  const auto [first, last] = links_->equal_range(link);
  for (auto it = first; it != last; ++it)
    if (!tree.contains(it->second.pid)) holders.push_back(it->second);
  return holders;
}

bool Outsiders::has_any(const std::string& link, const std::set<HostPid>& tree) {
  if (!links_) read_all(tree);
  return is_in(*links_, link, tree);
}

bool Outsiders::never_had(const std::string& link, const std::set<HostPid>& tree) {
  return earlier_ && !is_in(*earlier_, link, tree) && !has_any(link, tree);
}

void Outsiders::begin_again() {
  if (links_) earlier_ = std::move(links_);
  links_.reset();
}

bool Outsiders::is_below(const Holder& holder, const std::string& link, const std::set<HostPid>& tree) {
  return is_member(holder.pid, tree) && sys::try_read_link(door_of(holder)) == link;
}

bool Outsiders::is_outside(const Holder& holder, const std::string& link, const std::set<HostPid>& tree) {
  return !is_member(holder.pid, tree) && sys::try_read_link(door_of(holder)) == link;
}

}  // namespace mcr::kinds
