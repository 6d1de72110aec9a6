#include "core/sys/call_counter.h"

#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <set>

#include "core/base/error.h"
#include "core/sys/detached_mount.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

constexpr size_t kManyThreads = 64;  // each takes a descriptor
constexpr long kMseal = 462;         // 6.10
constexpr long kMapShadowStack = 453;

// io_uring_* for IORING_OP_MADVISE. Those that make threads and processes: a thread that was being born when the
// counting began is not counted itself, nor is the child of a vfork(2). The last two are as 32-bit code numbers mremap
// and pkey_mprotect (int 0x80); its madvise is restart_syscall(2) here, which sleeping programs call.
constexpr long kCalls[] = {SYS_mmap,
                           SYS_clone,
                           SYS_clone3,
                           SYS_fork,
                           SYS_vfork,
                           SYS_mprotect,
                           SYS_munmap,
                           SYS_brk,
                           SYS_mremap,
                           SYS_madvise,
                           SYS_shmat,
                           SYS_shmdt,
                           SYS_execve,
                           SYS_execveat,
                           SYS_mlock,
                           SYS_mlock2,
                           SYS_munlock,
                           SYS_mlockall,
                           SYS_munlockall,
                           SYS_prctl,
                           SYS_remap_file_pages,
                           SYS_mbind,
                           SYS_pkey_mprotect,
                           SYS_io_uring_setup,
                           SYS_io_uring_enter,
                           SYS_process_madvise,
                           SYS_userfaultfd,
                           kMapShadowStack,
                           kMseal,
                           163,
                           380};

std::optional<uint64_t> parse_number(const std::optional<std::string>& text) {
  uint64_t number = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc())
    return std::nullopt;
  return number;
}

// Many systems mount tracefs only when somebody traces: then it is mounted where nobody sees it.
std::optional<std::string> read_unmounted(const char* file) {
  try {
    const UniqueFd root = mount_detached("tracefs", {});
    return try_read_record_at(root.get(), file);
  } catch (const Error&) {  // no rights for it, or a kernel that has none
    return std::nullopt;
  }
}

// At its end: so a call counts too that was under way when the counting began. A thread that stands still has none.
std::optional<uint64_t> tracepoint_id() {
  constexpr const char* kFile = "events/raw_syscalls/sys_exit/id";
  for (const char* root : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"})
    if (const auto id = parse_number(try_read_text(fmt::format("{}/{}", root, kFile)))) return id;
  return parse_number(read_unmounted(kFile));
}

const std::string& filter() {
  static const std::string text = [] {
    std::string all;
    for (const long call : kCalls) all += fmt::format("{}id == {}", all.empty() ? "" : " || ", call);
    return all;
  }();
  return text;
}

// Threads that it makes are counted with it (inherit). Begun when the filter is there: without it every call would
// count for as long as it takes to set it, which is long for a program that makes many. Whoever is born meanwhile is
// begun with it.
UniqueFd count_calls(uint64_t tracepoint, pid_t tid) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.size = sizeof attributes;
  attributes.config = tracepoint;
  attributes.inherit = 1;
  attributes.disabled = 1;
  UniqueFd event(static_cast<int>(::syscall(SYS_perf_event_open, &attributes, tid, -1, -1, PERF_FLAG_FD_CLOEXEC)));
  if (event.valid() && (::ioctl(event.get(), PERF_EVENT_IOC_SET_FILTER, filter().c_str()) != 0 ||
                        ::ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0) != 0))
    event.reset();
  return event;
}

}  // namespace

// A thread that is not counted can only have been made by one that was not either: when nobody new is found, all are.
std::optional<MappingCallCounter> MappingCallCounter::begin(HostPid pid) {
  const auto tracepoint = tracepoint_id();
  if (!tracepoint) return std::nullopt;
  MappingCallCounter counter;
  std::set<std::string> counted;
  for (bool is_new = true; is_new;) {
    is_new = false;
    const auto threads = try_list_directory(fmt::format("/proc/{}/task", pid));
    if (!threads) return std::nullopt;
    for (const std::string& thread : *threads) {
      if (!counted.insert(thread).second) continue;
      is_new = true;
      UniqueFd event = count_calls(*tracepoint, static_cast<pid_t>(std::stol(thread)));
      if (!event.valid() || counted.size() > kManyThreads) return std::nullopt;
      counter.events_.push_back(std::move(event));
    }
  }
  return counter;
}

bool MappingCallCounter::has_counted_none() const {
  for (const UniqueFd& event : events_) {
    uint64_t calls = 0;
    if (::read(event.get(), &calls, sizeof calls) != sizeof calls || calls != 0) return false;
  }
  return !events_.empty();
}

}  // namespace mcr::sys
