#include "core/engine/memory_sharers.h"

#include <sys/sysmacros.h>

#include "core/base/error.h"
#include "core/kinds/sysv_segment.h"
#include "core/mem/sysv_segment.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::engine {
namespace {

bool is_memfd(const std::string& link) {
  return link.starts_with("/memfd:");
}

// What can be shared without a path: shared anonymous memory, and memfds however they are mapped. Segments of System V
// count their attachments themselves.
bool can_be_shared(const procfs::Mapping& m) {
  if (!m.deleted || m.inode == 0 || !sys::is_kernel_memory(makedev(m.device_major, m.device_minor))) return false;
  return is_memfd(m.path) || (m.shared && !mem::is_sysv_segment(m));
}

template <typename Visit>
void for_each_memfd(const std::string& process, const Visit& visit) {
  std::vector<std::string> numbers;
  try {
    numbers = sys::list_directory("/proc/" + process + "/fd");
  } catch (const Error&) {
    return;  // gone, or not ours to see
  }
  for (const std::string& number : numbers) {
    const std::string door = "/proc/" + process + "/fd/" + number;
    const auto link = sys::try_read_link(door);
    if (!link || !is_memfd(*link)) continue;
    const auto status = sys::try_stat(door);
    if (status && sys::is_kernel_memory(status->st_dev)) visit({status->st_dev, status->st_ino}, *link);
  }
}

[[noreturn]] void refuse(const std::string& process, const std::string& what) {
  throw Error(Fault::refused, fmt::format("{} {}", what, trace::describe_process(HostPid(std::stoi(process)))),
              "memory shared with a process outside of the tree cannot be saved: dump after that process has ended");
}

}  // namespace

void MemorySharers::note(HostPid pid, const std::vector<procfs::Mapping>& mappings, bool is_frozen) {
  tree_.insert(pid);
  for (const procfs::Mapping& m : mappings) {
    if (mem::is_sysv_segment(m)) ++attachments_[static_cast<int>(m.inode)];
    if (!can_be_shared(m)) continue;
    const Object object{makedev(m.device_major, m.device_minor), m.inode};
    objects_.insert(object);
    if (is_memfd(m.path)) memfds_.insert(object);
  }
  if (is_frozen) return;
  for_each_memfd(std::to_string(pid.get()), [&](const Object& object, const std::string&) {
    objects_.insert(object);
    memfds_.insert(object);
  });
}

void MemorySharers::begin_again() {
  tree_.clear(), attachments_.clear();
}

void MemorySharers::refuse_outsiders(bool is_frozen) {
  count_attachments(is_frozen);
  if (objects_.empty()) return;
  for (const std::string& name : sys::list_directory("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos || name == std::to_string(sys::own_pid().get()))
      continue;
    if (seen_.contains(name) || tree_.contains(HostPid(std::stoi(name)))) continue;
    look_at_mappings(name, is_frozen);
    if (!memfds_.empty()) look_at_memfds(name, is_frozen);
    seen_.insert(name);
  }
}

// Of the tree, though it was not there yet when the tree was listed.
bool MemorySharers::is_member(const std::string& process, bool is_frozen) const {
  if (is_frozen) return false;
  for (pid_t pid = std::stoi(process); pid > 1;) {
    if (pid == root_.get()) return true;
    const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", pid));
    if (!text) return true;  // it has ended meanwhile: nobody shares anything any more
    pid = procfs::parse_stat(*text).ppid;
  }
  return false;
}

void MemorySharers::look_at_mappings(const std::string& process, bool is_frozen) const {
  const auto text = sys::try_read_text("/proc/" + process + "/maps");
  if (!text || (text->find("/memfd:") == std::string::npos && text->find("/dev/zero (deleted)") == std::string::npos &&
                text->find("[anon_shmem:") == std::string::npos && text->find("/anon_hugepage") == std::string::npos))
    return;
  for (const procfs::Mapping& m : procfs::parse_maps(*text))
    if (can_be_shared(m) && objects_.contains({makedev(m.device_major, m.device_minor), m.inode}) &&
        !is_member(process, is_frozen))
      refuse(process, is_memfd(m.path) ? fmt::format("its {} is also mapped by", m.path)
                                       : "its shared anonymous memory is also that of");
}

void MemorySharers::look_at_memfds(const std::string& process, bool is_frozen) const {
  for_each_memfd(process, [&](const Object& object, const std::string& link) {
    if (memfds_.contains(object) && !is_member(process, is_frozen))
      refuse(process, fmt::format("its {} is also open in", link));
  });
}

// The kernel counts one for every mapping. Before the freeze a difference may be that of a child that has just come.
void MemorySharers::count_attachments(bool is_frozen) const {
  for (const auto& [id, own] : attachments_) {
    const auto segment = sys::find_segment(id);
    if (!segment || segment->attached <= own) continue;
    std::string others;
    for (const HostPid user : kinds::users_of_segment(id))
      if (!tree_.contains(user) && !is_member(std::to_string(user.get()), is_frozen))
        others += (others.empty() ? "" : ", ") + trace::describe_process(user);
    if (others.empty() && !is_frozen) continue;
    throw Error(Fault::refused,
                fmt::format("System V segment {} is attached by others too: {}", id,
                            others.empty() ? "a process that cannot be seen" : others),
                "memory shared with a process outside of the tree cannot be saved: dump after they have detached it");
  }
}

}  // namespace mcr::engine
