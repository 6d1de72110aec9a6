#include "core/engine/memory_sharers.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/kinds/sysv_segment.h"
#include "core/mem/aio_ring.h"
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

// What had a path and is mapped so that writers see each other: POSIX shared memory after shm_unlink(3), files that
// were removed. The name in the mapping may be gone while the file has another one: seen only when it matters.
bool may_be_deleted(const procfs::Mapping& m) {
  return m.shared && m.deleted && m.inode != 0 && !can_be_shared(m) && !mem::is_sysv_segment(m) &&
         !mem::is_aio_ring(m) && !sys::is_kernel_memory(makedev(m.device_major, m.device_minor));
}

std::string door_of(const std::string& process, const procfs::Mapping& m) {
  return fmt::format("/proc/{}/map_files/{:x}-{:x}", process, m.start, m.end);
}

// The links of fd and map_files have the access that the file was opened with (proc_pid_fd(5)): what is mapped shared
// and read-only may be made writable if the file is.
bool may_be_written(const std::string& door) {
  const auto status = sys::try_stat(door, false);
  return !status || (status->st_mode & S_IWUSR) != 0;
}

template <typename Visit>
void visit_deleted(const std::string& link, const std::string& door, const Visit& visit) {
  const auto status = sys::try_stat(door);
  if (!status || !S_ISREG(status->st_mode) || status->st_nlink != 0) return;
  if (sys::is_kernel_memory(status->st_dev) && !is_memfd(link)) return;
  visit(std::pair{status->st_dev, uint64_t{status->st_ino}}, link, door);
}

// Descriptors of files without a name, memfds among them.
template <typename Visit>
void for_each_deleted(const std::string& process, const Visit& visit) {
  const auto numbers = sys::try_list_directory("/proc/" + process + "/fd");
  if (!numbers) return;  // gone, or not ours to see
  for (const std::string& number : *numbers) {
    const std::string door = "/proc/" + process + "/fd/" + number;
    const auto link = sys::try_read_link(door);
    if (link && link->ends_with(" (deleted)")) visit_deleted(*link, door, visit);
  }
}

[[noreturn]] void refuse(const std::string& process, const std::string& what) {
  throw Error(Fault::refused, fmt::format("{} {}", what, trace::describe_process(HostPid(std::stoi(process)))),
              "memory shared with a process outside of the tree cannot be saved: dump after that process has ended");
}

[[noreturn]] void refuse_deleted(const std::string& process, const std::string& what) {
  throw Error(Fault::refused, fmt::format("{} {}", what, trace::describe_process(HostPid(std::stoi(process)))),
              "after a restore each would have a file of its own, as it has no name any more: dump after that process "
              "has ended, or dump the common parent");
}

}  // namespace

void MemorySharers::note(HostPid pid, const std::vector<procfs::Mapping>& mappings) {
  const std::lock_guard lock(noting_);
  tree_.insert(pid);
  for (const procfs::Mapping& m : mappings) {
    if (mem::is_sysv_segment(m)) ++attachments_[static_cast<int>(m.inode)];
    const Object object{makedev(m.device_major, m.device_minor), m.inode};
    if (may_be_deleted(m)) note_mapped_file(object, door_of(std::to_string(pid.get()), m), (m.prot & PROT_WRITE) != 0);
    if (!can_be_shared(m)) continue;
    objects_.insert(object);
    if (is_memfd(m.path)) memfds_.insert(object);
  }
}

void MemorySharers::note_open(const std::vector<kinds::OpenFiles::Nameless>& files) {
  const std::lock_guard lock(noting_);
  const auto note = [&](const Object& object, const std::string& link, const std::string& door) {
    if (is_memfd(link)) {
      objects_.insert(object);
      memfds_.insert(object);
    } else {
      DeletedFile& file = deleted_[object];
      file.is_certain = true;
      file.is_written = file.is_written || may_be_written(door);
    }
  };
  for (const auto& file : files) visit_deleted(file.link, file.door, note);
}

// One mapping tells enough if it is written to, else all are asked when somebody has the file too.
void MemorySharers::note_mapped_file(const Object& object, std::string door, bool is_written) {
  DeletedFile& file = deleted_[object];
  if (file.is_written && !file.doors.empty()) return;
  file.is_written = file.is_written || is_written;
  file.doors.push_back(std::move(door));
}

// Shared by both so that one would miss what the other writes. What both only read, a library that was replaced, say,
// is the same in two copies.
bool MemorySharers::is_split(const Object& object, const std::string& other_door) const {
  const auto found = deleted_.find(object);
  if (found == deleted_.end()) return false;
  const DeletedFile& file = found->second;
  const bool is_written = file.is_written || may_be_written(other_door) ||
                          std::any_of(file.doors.begin(), file.doors.end(), may_be_written);
  return is_written && (file.is_certain || std::any_of(file.doors.begin(), file.doors.end(), [](const auto& door) {
                          const auto view = kinds::view_path(HostPid(std::stoi(door.substr(6))), door);
                          return view && view->deleted;
                        }));
}

void MemorySharers::forget() {
  begin_again();
  objects_.clear(), memfds_.clear(), deleted_.clear(), seen_.clear();
}

// Doors lead into processes that may have ended meanwhile; those that live have them noted again.
void MemorySharers::begin_again() {
  tree_.clear(), attachments_.clear();
  for (auto& [object, file] : deleted_) file.doors.clear();
}

void MemorySharers::refuse_outsiders(bool is_frozen) {
  count_attachments(is_frozen);
  if (objects_.empty() && deleted_.empty()) return;
  for (const std::string& name : sys::list_directory("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos || name == std::to_string(sys::own_pid().get()))
      continue;
    if (seen_.contains(name) || tree_.contains(HostPid(std::stoi(name)))) continue;
    look_at_mappings(name, is_frozen);
    if (!memfds_.empty() || !deleted_.empty()) look_at_descriptors(name, is_frozen);
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
  if (!text) return;
  const auto says = [&](const char* words) { return text->find(words) != std::string::npos; };
  if (!says("/memfd:") && !says("/dev/zero (deleted)") && !says("[anon_shmem:") && !says("/anon_hugepage") &&
      (deleted_.empty() || !says(" (deleted)")))
    return;
  for (const procfs::Mapping& m : procfs::parse_maps(*text)) {
    const Object object{makedev(m.device_major, m.device_minor), m.inode};
    if (can_be_shared(m) && objects_.contains(object) && !is_member(process, is_frozen))
      refuse(process, is_memfd(m.path) ? fmt::format("its {} is also mapped by", m.path)
                                       : "its shared anonymous memory is also that of");
    if (may_be_deleted(m) && is_split(object, door_of(process, m)) && !is_member(process, is_frozen))
      refuse_deleted(process, fmt::format("its deleted file {} is also mapped by", m.path));
  }
}

void MemorySharers::look_at_descriptors(const std::string& process, bool is_frozen) const {
  for_each_deleted(process, [&](const Object& object, const std::string& link, const std::string& door) {
    if (memfds_.contains(object) && !is_member(process, is_frozen))
      refuse(process, fmt::format("its {} is also open in", link));
    if (!is_memfd(link) && is_split(object, door) && !is_member(process, is_frozen))
      refuse_deleted(process, fmt::format("its file {} is also open in", link));
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
