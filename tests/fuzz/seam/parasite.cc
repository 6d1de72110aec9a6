// What the new process does with a batch: no system call, but a check of each against what the kernel would do with it.
// A call that would reach out of the process, or destroy the parasite that makes it, is a broken promise.
#include <linux/prctl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/sys/failure.h"
#include "tests/fuzz/seam/world.h"

namespace mcr::fuzz {
namespace {

using parasite::Call;

constexpr uint64_t kLowest = 0x10000, kTaskSize = 0x7ffffffff000, kPage = 4096;

// Calls that reach other processes, or files by their names.
constexpr uint32_t kOutside[] = {
    SYS_kill,       SYS_tkill,    SYS_ptrace,   SYS_process_vm_writev,
    SYS_unlink,     SYS_unlinkat, SYS_rename,   SYS_renameat,
    SYS_renameat2,  SYS_link,     SYS_linkat,   SYS_symlink,
    SYS_mkdir,      SYS_mkdirat,  SYS_rmdir,    SYS_mknod,
    SYS_mknodat,    SYS_chmod,    SYS_fchmod,   SYS_fchmodat,
    SYS_chown,      SYS_fchown,   SYS_fchownat, SYS_truncate,
    SYS_ftruncate,  SYS_mount,    SYS_umount2,  SYS_execve,
    SYS_reboot,     SYS_creat,    SYS_vmsplice, SYS_bpf,
    SYS_fork,       SYS_vfork,    SYS_clone,    SYS_exit,
    SYS_exit_group, SYS_write,    SYS_pwrite64, SYS_pwritev,
};

template <typename T>
T fetch(FakeProcess& process, uint64_t at) {
  T value;
  read_process_memory(process, at, &value, sizeof value);
  return value;
}

bool in_parasite(const FakeProcess& process, uint64_t start, uint64_t bytes) {
  return start < process.end && bytes > 0 && start + bytes > process.base;
}

void require_buffer(const FakeProcess& process, uint64_t at, uint64_t bytes) {
  require(at >= process.base + parasite::kBatchOffset && at <= process.end && bytes <= process.end - at,
          "a buffer of a call lies outside of its batch");
}

// A range that the process changes: never the parasite's, never the kernel's.
void require_own(const FakeProcess& process, uint64_t start, uint64_t bytes) {
  require(start % kPage == 0 && start < kTaskSize + kPage && bytes <= kTaskSize + kPage - start,
          "a range of the kernel's is changed");
  require(!in_parasite(process, start, bytes), "the parasite's memory is changed");
}

int64_t map(FakeProcess& process, const Call& call) {
  const uint64_t start = call.args[0], bytes = call.args[1], flags = call.args[3];
  if (!(flags & MAP_ANONYMOUS))
    require(process.fds.contains(static_cast<int>(call.args[4])), "an unknown file is mapped");
  if (bytes == 0 || bytes > kTaskSize / 2) return -ENOMEM;
  if (flags & MAP_FIXED) {
    require(start >= kLowest, "a mapping below mmap_min_addr");
    require_own(process, start, bytes);
    return static_cast<int64_t>(start);
  }
  const uint64_t at = process.next_mapping;
  process.next_mapping += (bytes + kPage - 1) / kPage * kPage;
  return process.next_mapping > kTaskSize / 2 ? -ENOMEM : static_cast<int64_t>(at);
}

int64_t read_vector(FakeProcess& process, const Call& call) {
  require(process.fds.contains(static_cast<int>(call.args[0])), "an unknown file is read");
  const uint64_t count = call.args[2];
  require(count > 0 && count <= IOV_MAX, "an impossible number of pieces is read");
  require_buffer(process, call.args[1], count * sizeof(iovec));
  int64_t total = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const auto part = fetch<iovec>(process, call.args[1] + i * sizeof(iovec));
    const auto start = reinterpret_cast<uint64_t>(part.iov_base);
    require(part.iov_len > 0, "nothing is read");
    require_own(process, start, part.iov_len);
    total += static_cast<int64_t>(part.iov_len);
  }
  return total;
}

void check_descriptor(FakeProcess& process, const Call& call) {
  const auto fd = static_cast<int>(call.args[0]);
  if (call.number == SYS_close && fd == process.socket) {
    process.has_closed = true;
    return;
  }
  require(fd != process.socket, "the parasite's socket is changed");
  require(process.fds.contains(fd), "an unknown descriptor is changed");
  if (call.number == SYS_close) process.fds.erase(fd);
  if (call.number != SYS_dup3) return;
  const auto to = static_cast<int>(call.args[1]);
  require(to >= 0 && to != process.socket && to != fd, "a descriptor is put at an impossible number");
  process.fds.insert(to);
}

bool is_valid(const timespec& t) {
  return t.tv_sec >= 0 && t.tv_nsec >= 0 && t.tv_nsec < 1'000'000'000;
}
bool is_valid(const timeval& t) {
  return t.tv_sec >= 0 && t.tv_usec >= 0 && t.tv_usec < 1'000'000;
}

int64_t spawn(FakeProcess& process, const Call& call);

int64_t execute_state(FakeProcess& process, const Call& call) {
  const auto& a = call.args;
  switch (call.number) {
    case SYS_rt_sigaction:
      require(a[0] >= 1 && a[0] <= 64, "an impossible signal");
      require_buffer(process, a[1], 32);
      return a[0] == SIGKILL || a[0] == SIGSTOP ? -EINVAL : 0;
    case SYS_rt_sigqueueinfo:
      require(a[0] == static_cast<uint64_t>(process.pid), "a signal is sent to another process");
      require_buffer(process, a[2], sizeof(siginfo_t));
      return 0;
    case SYS_rt_tgsigqueueinfo:
      require(a[0] == static_cast<uint64_t>(process.pid), "a signal is sent to another process");
      require_buffer(process, a[3], sizeof(siginfo_t));
      return 0;
    case SYS_setitimer: {
      require(a[0] <= 2, "an impossible interval timer");
      require_buffer(process, a[1], sizeof(itimerval));
      const auto value = fetch<itimerval>(process, a[1]);
      require(is_valid(value.it_value) && is_valid(value.it_interval), "an impossible time");
      return 0;
    }
    case SYS_timer_create:
      require_buffer(process, a[1], sizeof(sigevent));
      require_buffer(process, a[2], sizeof(int));
      return 0;
    case SYS_timer_settime: {
      require_buffer(process, a[2], sizeof(itimerspec));
      const auto value = fetch<itimerspec>(process, a[2]);
      require(is_valid(value.it_value) && is_valid(value.it_interval), "an impossible time");
      return 0;
    }
    case SYS_prlimit64:
      require(a[0] == 0, "limits of another process");
      require(a[1] < RLIM_NLIMITS, "an impossible resource");
      require_buffer(process, a[2], sizeof(rlimit));
      return 0;
    case SYS_setgroups:
      require(a[0] <= 65536, "an impossible number of groups");
      require_buffer(process, a[1], a[0] * 4);
      return 0;
    case SYS_prctl:
      if (a[0] == PR_SET_NAME) require_buffer(process, a[1], 1);
      if (a[0] == PR_SET_MM) require_buffer(process, a[2], a[3]);
      if (a[0] == PR_SET_PDEATHSIG) require(a[1] <= 64, "an impossible signal");
      return 0;
    case SYS_clone3:
      return spawn(process, call);
    default:
      return 0;
  }
}

int64_t execute(FakeProcess& process, const Call& call) {
  const auto& a = call.args;
  require(std::ranges::find(kOutside, call.number) == std::end(kOutside), "a call that reaches out of the new process");
  switch (call.number) {
    case SYS_mmap:
      return map(process, call);
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_madvise:
    case SYS_mlock2:
      require_own(process, a[0], a[1]);
      return 0;
    case SYS_mremap:
      if (a[3] & MREMAP_FIXED) require_own(process, a[4], a[2]);
      return static_cast<int64_t>(a[4]);
    case SYS_preadv:
      return read_vector(process, call);
    case SYS_close:
    case SYS_dup3:
    case SYS_fcntl:
    case SYS_fchdir:
      check_descriptor(process, call);
      return 0;
    case SYS_close_range:
      require(static_cast<uint64_t>(process.socket) < a[0] || static_cast<uint64_t>(process.socket) > a[1],
              "the parasite's socket is closed");
      std::erase_if(process.fds,
                    [&](int fd) { return static_cast<uint64_t>(fd) >= a[0] && static_cast<uint64_t>(fd) <= a[1]; });
      return 0;
    default:
      return execute_state(process, call);
  }
}

int64_t execute_or_fail(FakeProcess& process, const Call& call) {
  World& world = World::get();
  if (world.fail_at != 0 && ++world.calls == world.fail_at) return -world.fail_with;
  return execute(process, call);
}

bool failed(int64_t result) {
  return result < 0 && result >= -4095;
}

int64_t spawn(FakeProcess& process, const Call& call) {
  require((call.flags & parasite::kSpawnThread) != 0, "a thread without work");
  const auto args = fetch<clone_args>(process, call.args[0]);
  const auto tid = static_cast<pid_t>(fetch<uint64_t>(process, args.set_tid));
  require(tid > 1 && !process.tasks.contains(tid), "a thread of an impossible number");
  process.tasks[tid];
  const auto batch = fetch<parasite::ThreadBatch>(process, call.args[5]);
  require_buffer(process, batch.calls, batch.count * sizeof(Call));
  for (uint64_t i = 0; i < batch.count; ++i) {
    const uint64_t at = batch.calls + i * sizeof(Call);
    auto own = fetch<Call>(process, at);
    own.result = execute_or_fail(process, own);
    write_process_memory(process, at, &own, sizeof own);
  }
  require_buffer(process, batch.done, sizeof(uint32_t));
  const uint32_t done = fetch<uint32_t>(process, batch.done) + 1;
  write_process_memory(process, batch.done, &done, sizeof done);
  return tid;
}

uint32_t run(FakeProcess& process, const parasite::Doorbell& bell) {
  require_buffer(process, bell.calls, bell.count * sizeof(Call));
  for (uint32_t i = 0; i < bell.count; ++i) {
    const uint64_t at = bell.calls + i * sizeof(Call);
    auto call = fetch<Call>(process, at);
    call.result = execute_or_fail(process, call);
    write_process_memory(process, at, &call, sizeof call);
    if (process.has_closed) {  // all that is left to it is to sleep until it is stopped
      const bool is_last = i + 2 == bell.count;
      require(is_last && fetch<Call>(process, at + sizeof call).number == SYS_pause, "the parasite closes its socket");
      return bell.count;
    }
    if (failed(call.result) && !(call.flags & parasite::kMayFail)) return i + 1;
  }
  return bell.count;
}

void receive(FakeProcess& process, size_t count) {
  require(count <= parasite::kMaxDescriptors, "more descriptors than a message can carry");
  std::vector<int> numbers;
  for (size_t i = 0; i < count; ++i) {
    int number = 0;
    while (process.fds.contains(number) || number == process.socket) ++number;
    process.fds.insert(number);
    numbers.push_back(number);
  }
  write_process_memory(process, process.base + parasite::kDataOffset + offsetof(parasite::Control, received),
                       numbers.data(), numbers.size() * sizeof(int));
  process.replies.push_back({static_cast<uint32_t>(count), 0});
}

}  // namespace

void answer_doorbell(FakeProcess& process, std::string_view message, size_t descriptors) {
  if (const std::string& answers = World::get().answers; !answers.empty()) {
    parasite::Reply reply{};
    std::memcpy(&reply, answers.data(), std::min(sizeof reply, answers.size()));
    const bool counts = message.size() == sizeof(parasite::Doorbell);
    const uint32_t count = counts ? reinterpret_cast<const parasite::Doorbell*>(message.data())->count : 0;
    if (reply.executed % 4 != 0 && counts) reply.executed = count;
    process.replies.push_back(reply);
    return;
  }
  if (message.size() != sizeof(parasite::Doorbell)) {  // the go, or the message that carries descriptors
    if (process.expects_descriptors) receive(process, descriptors);
    process.expects_descriptors = false;
    return;
  }
  parasite::Doorbell bell;
  std::memcpy(&bell, message.data(), sizeof bell);
  process.expects_descriptors = bell.command != parasite::kRun;
  if (process.expects_descriptors) return;
  const uint32_t executed = run(process, bell);
  if (!process.has_closed) process.replies.push_back({executed, 0});
}

void read_process_memory(FakeProcess& process, uint64_t at, void* to, size_t size) {
  require(at >= kLowest && at < kTaskSize + kPage && size <= kTaskSize + kPage - at, "memory of the kernel is read");
  auto* bytes = static_cast<char*>(to);
  if (const std::string& answers = World::get().answers; !answers.empty()) {
    for (size_t i = 0; i < size; ++i) bytes[i] = answers[(at + i) % answers.size()];
    return;
  }
  const ssize_t n = ::pread(process.memory.get(), bytes, size, static_cast<off_t>(at));
  const size_t have = n > 0 ? static_cast<size_t>(n) : 0;
  std::fill(bytes + have, bytes + size, '\0');  // what was never written
}

void write_process_memory(FakeProcess& process, uint64_t at, const void* from, size_t size) {
  require(at >= kLowest && at < kTaskSize + kPage && size <= kTaskSize + kPage - at, "memory of the kernel is written");
  if (size > 0 && ::pwrite(process.memory.get(), from, size, static_cast<off_t>(at)) != static_cast<ssize_t>(size))
    sys::throw_code(ENOMEM, "write to the new process");
}

}  // namespace mcr::fuzz
