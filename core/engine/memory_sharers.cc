#include "core/engine/memory_sharers.h"

#include <sys/sysmacros.h>

#include <set>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::engine {
namespace {

using Object = std::pair<dev_t, uint64_t>;  // device and inode

bool is_memfd(const std::string& link) {
  return link.starts_with("/memfd:");
}

Object object_of(const procfs::Mapping& m) {
  return {makedev(m.device_major, m.device_minor), m.inode};
}

// What can be shared without a path: shared anonymous memory, and memfds however they are mapped. Segments of System V
// count their attachments themselves.
bool can_be_shared(const procfs::Mapping& m) {
  if (!m.deleted || m.inode == 0 || !sys::is_kernel_memory(makedev(m.device_major, m.device_minor))) return false;
  return is_memfd(m.path) || (m.shared && !m.path.starts_with("/SYSV"));
}

class Search {
 public:
  Search(HostPid pid, const std::vector<procfs::Mapping>& mappings) : pid_(pid) {
    for (const procfs::Mapping& m : mappings) {
      if (!can_be_shared(m)) continue;
      objects_.insert(object_of(m));
      has_memfds_ |= is_memfd(m.path);
    }
    for_each_memfd(std::to_string(pid.get()), [&](const Object& object, const std::string&) {
      objects_.insert(object);
      has_memfds_ = true;
    });
  }

  void run() const {
    if (objects_.empty()) return;
    for (const std::string& name : sys::list_directory("/proc")) {
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      if (name == std::to_string(pid_.get()) || name == std::to_string(sys::own_pid().get())) continue;
      look_at_mappings(name);
      if (has_memfds_)
        for_each_memfd(name, [&](const Object& object, const std::string& link) {
          if (objects_.contains(object)) refuse(name, fmt::format("its {} is also open in", link));
        });
    }
  }

 private:
  template <typename Visit>
  static void for_each_memfd(const std::string& process, const Visit& visit) {
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
      if (status && sys::is_kernel_memory(status->st_dev)) visit(Object{status->st_dev, status->st_ino}, *link);
    }
  }

  void look_at_mappings(const std::string& process) const {
    const auto text = sys::try_read_text("/proc/" + process + "/maps");
    if (!text ||
        (text->find("/memfd:") == std::string::npos && text->find("/dev/zero (deleted)") == std::string::npos &&
         text->find("/anon_hugepage") == std::string::npos))
      return;
    for (const procfs::Mapping& m : procfs::parse_maps(*text))
      if (can_be_shared(m) && objects_.contains(object_of(m)))
        refuse(process, is_memfd(m.path) ? fmt::format("its {} is also mapped by", m.path)
                                         : "its shared anonymous memory is also that of");
  }

  [[noreturn]] static void refuse(const std::string& process, const std::string& what) {
    throw Error(Fault::refused, fmt::format("{} {}", what, trace::describe_process(HostPid(std::stoi(process)))),
                "memory shared with others cannot be saved yet: dump after that process has ended");
  }

  HostPid pid_;
  std::set<Object> objects_;
  bool has_memfds_ = false;
};

}  // namespace

void refuse_shared_with_others(HostPid pid, const std::vector<procfs::Mapping>& mappings) {
  Search(pid, mappings).run();
}

}  // namespace mcr::engine
