// Fuzz target of the /proc parsers: the first byte chooses the parser, the rest is the text. Refusing the text with an
// Error is a good outcome; any other exception, or a finding of the sanitizers, is a defect.
#include <sys/sysmacros.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/base/error.h"
#include "core/procfs/cgroups.h"
#include "core/procfs/event_files.h"
#include "core/procfs/maps.h"
#include "core/procfs/numa_policy.h"
#include "core/procfs/socket_diag.h"
#include "core/procfs/status.h"
#include "core/procfs/timer_list.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_mappings(const std::vector<mcr::procfs::Mapping>& mappings) {
  for (const mcr::procfs::Mapping& mapping : mappings) {
    require(mapping.size() > 0 && mapping.start < mapping.end);
    for (const std::string& code : mapping.vm_flags) require(!code.empty() && mapping.has_flag(code));
  }
}

void parse_descriptor(std::string_view text) {
  namespace procfs = mcr::procfs;
  const procfs::FdInfo info = procfs::parse_fdinfo(text);
  for (const std::string& line : info.rest) static_cast<void>(procfs::parse_lock(line));
  require(info.rest.size() <= text.size());
  if (text.find("eventfd") != text.npos) procfs::event_counter_of(info);
  if (text.find("clockid") != text.npos) require(procfs::timer_file_of(info).value_ns >= 0);
  if (text.find("sigmask") != text.npos) procfs::signal_mask_of(info);
  if (text.find("Pid:") != text.npos) procfs::pid_file_of(info);
  for (const auto& watch : procfs::watches_of(info)) require(watch.device <= makedev(4095, 1048575));
  for (const auto& watch : procfs::inotify_of(info)) require(watch.handle.size() <= 128);
  if (text.find("SqMask") != text.npos) require(procfs::io_uring_of(info).buffers.size() <= text.size());
  if (text.find("fanotify flags:") != text.npos)
    for (const auto& mark : procfs::fanotify_of(info).marks) require(mark.handle.size() <= 128);
}

void parse(uint8_t choice, std::string_view text) {
  namespace procfs = mcr::procfs;
  if (choice == 0xff) return require(procfs::parse_cgroups(text).size() <= text.size());
  if (choice == 0xfe) return static_cast<void>(procfs::find_cgroup_mount(text, "memory"));
  if (choice == 0xfd) return require(procfs::parse_numa_policy(text).value_or(procfs::NumaPolicy()).nodes.size() <= 16);
  switch (choice % 11) {
    case 0:
      return check_mappings(procfs::parse_maps(text));
    case 1:
      return check_mappings(procfs::parse_smaps(text));
    case 2:
      return require(!procfs::parse_status(text).ns_pid.empty());
    case 3:
      return require(procfs::parse_stat(text).comm.size() < text.size());
    case 4:
      return parse_descriptor(text);
    case 5:
      return require(procfs::parse_timers(text).size() <= text.size());
    case 6:
      return require(procfs::parse_limits(text).size() == 16);
    case 7:
      return static_cast<void>(procfs::parse_syscall(text));
    case 8:
      static_cast<void>(procfs::parse_exec_start_ns(text));
      return require(procfs::parse_locks(text).size() <= text.size());
    case 10: {
      if (const auto socket = procfs::parse_unix_diag(text)) require(socket->pending.size() <= text.size());
      if (const auto socket = procfs::parse_inet_diag(text, 6)) require(socket->local.size() == socket->remote.size());
      if (const auto socket = procfs::parse_netlink_diag(text)) require(socket->groups.size() <= text.size());
      return;
    }
    case 9: {
      const procfs::TimerList list = procfs::parse_timer_list(text);
      return require(procfs::added_timers(list, list).empty());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  try {
    parse(data[0], std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  } catch (const mcr::Error& error) {
    require(error.fault() == mcr::Fault::system && !error.reason().empty());
  }
  return 0;
}
