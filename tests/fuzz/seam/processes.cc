// Stand-ins for core/sys/process.h and ptrace.h: one process that does what it is told.
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/ptrace.h"
#include "tests/fuzz/seam/world.h"

namespace mcr::sys {
namespace {

using fuzz::FakeProcess;
using fuzz::FakeTask;
using fuzz::require;
using fuzz::World;

constexpr uint64_t kTaskSize = 0x7ffffffff000;

FakeTask& task(HostTid tid) {
  FakeProcess& process = World::get().made(tid.get());
  return process.tasks[tid.get()];
}

bool push(HostTid tid, StopEvent::Kind kind) {
  FakeTask& t = task(tid);
  if (!t.events.empty() && t.events.back().kind == StopEvent::Kind::ended) return false;
  t.events.push_back({kind, 0, 0});
  return true;
}

}  // namespace

bool try_kill(HostPid pid, int) {
  for (auto& [tid, t] : World::get().made(pid.get()).tasks) t.events.push_back({StopEvent::Kind::ended, 9, 0});
  return true;
}
bool group_exists(pid_t group) {
  require(group > 0, "a group of an impossible number is asked for");
  return false;
}
UniqueFd open_pidfd(HostPid pid) {
  World::get().made(pid.get());
  return make_memfd("pidfd");
}

void read_memory(HostPid pid, RemoteAddr from, void* to, size_t size) {
  fuzz::read_process_memory(World::get().made(pid.get()), from.get(), to, size);
}
bool try_read_memory(HostPid pid, RemoteAddr from, void* to, size_t size) {
  read_memory(pid, from, to, size);
  return true;
}
void write_memory(HostPid pid, RemoteAddr to, const void* from, size_t size) {
  fuzz::write_process_memory(World::get().made(pid.get()), to.get(), from, size);
}

RobustList robust_list_of(HostTid) {
  return {};
}
SchedAttr scheduling_of(HostTid tid) {
  if (tid.get() != own_pid().get()) World::get().made(tid.get());
  return {};
}
void set_scheduling(HostTid tid, const SchedAttr& attr) {
  World::get().made(tid.get());
  require(attr.policy <= 7, "an impossible scheduling policy");
}
std::vector<std::byte> affinity_of(HostTid) {
  return std::vector<std::byte>(8, std::byte{0xff});
}
void set_affinity(HostTid tid, std::span<const std::byte> mask) {
  World::get().made(tid.get());
  require(mask.size() <= 1024, "an affinity mask of an impossible size");
}
int io_priority_of(HostTid) {
  return 0;
}
void set_io_priority(HostTid tid, int) {
  World::get().made(tid.get());
}
rlimit limit_of_self(int resource) {
  require(resource >= 0 && resource < RLIM_NLIMITS, "an impossible resource");
  return {RLIM_INFINITY, RLIM_INFINITY};
}
bool has_capability(int number) {  // without those of sockets few images with one would get beyond the check
  constexpr int kOfSockets[] = {CAP_CHOWN,  CAP_LEASE,  CAP_NET_ADMIN, CAP_NET_BIND_SERVICE,
                                CAP_SETGID, CAP_SETUID, CAP_SYS_CHROOT};
  return std::ranges::find(kOfSockets, number) != std::end(kOfSockets);
}

void send_message(int, const void* data, size_t size, std::span<const int> fds) {
  World& world = World::get();
  if (!world.process) throw_code(EPIPE, "send to the other process");
  fuzz::answer_doorbell(*world.process, {static_cast<const char*>(data), size}, fds.size());
}

std::optional<size_t> receive_message(int, void* data, size_t size, const Deadline&) {
  World& world = World::get();
  if (!world.process || world.process->replies.empty()) return 0;
  require(size == sizeof(parasite::Reply), "a reply of an impossible size is waited for");
  std::memcpy(data, &world.process->replies.front(), size);
  world.process->replies.pop_front();
  return size;
}

void* map_anonymous_at(uint64_t address, size_t size, int) {
  require(address % 4096 == 0 && address >= 0x10000 && address < kTaskSize && size <= kTaskSize - address,
          "the parasite is put at an impossible address");
  if (size > 256u << 20) throw_code(ENOMEM, "mmap");
  void* memory = std::aligned_alloc(4096, size);
  World::get().local_mappings[memory] = size;
  return memory;
}
void protect(void*, size_t, int) {}
void unmap(void* address, size_t) {
  require(World::get().local_mappings.erase(address) == 1, "memory of the engine is unmapped");
  std::free(address);
}

HostPid clone_into(const CloneRequest& request) {
  World& world = World::get();
  require(request.pid > 1, "a process of an impossible number is made");
  require(!world.process, "a second process is made with the number of the first");
  FakeProcess& process = world.process.emplace();
  process.pid = request.pid;
  process.base = request.base;
  process.end = request.stack;
  process.socket = request.socket;
  process.memory = make_memfd("memory");
  process.tasks[request.pid];
  return HostPid(request.pid);
}

bool seize(HostTid tid, uint64_t) {
  World::get().made(tid.get());
  return true;
}
bool interrupt(HostTid tid) {
  return push(tid, StopEvent::Kind::trap);
}
bool detach(HostTid tid, int) {
  World::get().made(tid.get());
  return true;
}
bool resume(HostTid tid, int) {
  World::get().made(tid.get());
  return true;
}
bool resume_to_syscall(HostTid tid, int) {
  return push(tid, StopEvent::Kind::syscall);
}
bool single_step(HostTid tid) {
  return push(tid, StopEvent::Kind::trap);
}
void set_options(HostTid tid, uint64_t) {
  World::get().made(tid.get());
}

Registers get_registers(HostTid tid) {
  Registers registers = task(tid).registers;
  if (registers.rax < 1024) registers.rax = 0;  // the call that it stood before has succeeded
  return registers;
}
// The kernel's own conditions: it would refuse with EIO or EPERM, long after the process was made.
void set_registers(HostTid tid, const Registers& r) {
  require(r.fs_base < kTaskSize + 4096 && r.gs_base < kTaskSize + 4096, "a segment base of the kernel's is set");
  const auto is_user = [](uint64_t selector) { return (selector & 3) == 3; };
  require(is_user(r.cs) && is_user(r.ss), "selectors of the kernel's are set");
  task(tid).registers = r;
}
size_t get_xstate(HostTid, std::span<std::byte> buffer) {
  return std::min<size_t>(buffer.size(), 832);
}
void set_xstate(HostTid tid, std::span<const std::byte> state) {
  World::get().made(tid.get());
  require(state.size() >= 576 && state.size() <= 16384, "extended state of an impossible size is set");
}
uint64_t get_signal_mask(HostTid) {
  return 0;
}
void set_signal_mask(HostTid tid, uint64_t) {
  World::get().made(tid.get());
}
siginfo_t get_siginfo(HostTid) {
  return {};
}
std::vector<siginfo_t> peek_signals(HostTid, bool) {
  return std::vector<siginfo_t>(1);
}
RseqConfiguration get_rseq(HostTid) {
  return {};
}
bool dispatches_syscalls(HostTid) {
  return false;
}

std::optional<StopEvent> wait_stop(HostTid tid, const Deadline&) {
  FakeTask& t = task(tid);
  if (t.events.empty()) return std::nullopt;
  const StopEvent event = t.events.front();
  t.events.pop_front();
  return event;
}
std::optional<StopEvent> poll_stop(HostTid tid) {
  return wait_stop(tid, std::nullopt);
}
void reap_killed_tracees(const Deadline&) {}

}  // namespace mcr::sys
