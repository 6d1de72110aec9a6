#include "core/inject/new_process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/procfs/status.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/trace/frozen_tree.h"
#include "core/trace/remote_memory.h"

extern "C" const std::byte mcr_blob_begin[], mcr_blob_end[];

namespace mcr::inject {
namespace {

constexpr uint64_t kTraceSysGood = 1, kExitKill = 1 << 20;  // PTRACE_O_TRACESYSGOOD, PTRACE_O_EXITKILL (3.8)

// The parasite in our own memory, for as long as it takes to clone.
class LocalBlob {
 public:
  LocalBlob(uint64_t address, size_t bytes) : bytes_(bytes) {
    address_ = sys::map_anonymous_at(address, bytes, PROT_READ | PROT_WRITE);
    std::memcpy(address_, mcr_blob_begin, static_cast<size_t>(mcr_blob_end - mcr_blob_begin));
    sys::protect(address_, parasite::kCodeBytes, PROT_READ | PROT_EXEC);
  }
  ~LocalBlob() {
    try {
      sys::unmap(address_, bytes_);
    } catch (const Error& e) {
      log::warning("inject", "{}", e.what());
    }
  }
  LocalBlob(const LocalBlob&) = delete;
  LocalBlob& operator=(const LocalBlob&) = delete;

 private:
  void* address_;
  size_t bytes_;
};

sys::Deadline soon() {
  return sys::Clock::now() + std::chrono::seconds(10);
}

}  // namespace

size_t blob_bytes(size_t data_bytes) {
  return parasite::kCodeBytes + data_bytes;
}

NewProcess::NewProcess(const NewProcessPlan& plan, Damage& damage)
    : plan_(plan), damage_(damage), total_(blob_bytes(plan.data_bytes)) {
  const Step step("create process {}", plan.pid);
  sys::SocketPair pair = sys::make_socket_pair();
  if (plan.socket_number >= 0) pair.theirs = sys::duplicate_to(pair.theirs.get(), plan.socket_number);
  remote_socket_ = pair.theirs.get();
  const LocalBlob blob(plan.blob_address, total_);
  sys::CloneRequest request;
  request.pid = plan.pid;
  request.sibling = plan.sibling;
  request.orphan = plan.orphan;
  request.entry = request.base = plan.blob_address;
  request.stack = plan.blob_address + total_;
  request.socket = remote_socket_;
  request.close_fd = pair.ours.get();
  pid_ = plan.namespaces ? plan.namespaces->clone_into(request) : sys::clone_into(request);
  seize_leader(true);
  channel_ = std::make_unique<Channel>(pid_, std::move(pair.ours), RemoteAddr(plan.blob_address), plan.data_bytes);
  channel_->set_tracee(threads_.front().get());
}

NewProcess::NewProcess(Spawned spawned, const NewProcessPlan& plan, Damage& damage)
    : plan_(plan),
      damage_(damage),
      total_(blob_bytes(plan.data_bytes)),
      pid_(spawned.pid),
      remote_socket_(spawned.socket_number),
      channel_(std::move(spawned.channel)) {
  const Step step("process {}", pid_);
  plan_.blob_address = spawned.blob_address;
  seize_leader(false);
  channel_->set_tracee(threads_.front().get());
}

void NewProcess::seize_leader(bool may_have_rseq) {
  try {
    pidfd_ = sys::open_pidfd(pid_);
    auto leader = trace::Tracee::seize(HostTid(pid_.get()), kTraceSysGood | kExitKill, damage_);
    if (!leader) throw Error(Fault::system, "the new process ended at once");
    threads_.push_back(std::move(leader));
    if (!may_have_rseq) return;
    threads_.front()->stop_again(soon());
    rseq_ = sys::get_rseq(threads_.front()->tid());
    threads_.front()->run();
  } catch (...) {
    sys::try_kill(pid_, SIGKILL);
    for (auto& thread : threads_) thread->abandon();
    sys::wait_stop(HostTid(pid_.get()), soon());
    throw;
  }
}

namespace {

pid_t number_inside(HostPid pid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", pid));
  if (!text) return 0;
  const procfs::Status status = procfs::parse_status(*text);
  return status.ns_pid.empty() ? status.pid : status.ns_pid.back();
}

// What its creator calls `inside`, seen from here.
HostPid child_by_number_inside(HostPid creator, bool sibling, pid_t inside) {
  HostPid parent = creator;
  if (sibling) parent = HostPid(procfs::parse_stat(sys::read_text(fmt::format("/proc/{}/stat", creator))).ppid);
  for (const HostPid child : trace::children_of(parent))
    if (number_inside(child) == inside) return child;
  throw Error(Fault::system, fmt::format("process {} is not among the children of {}", inside, parent));
}

}  // namespace

namespace {

// A place of its own in its creator's memory.
void map_blob(Channel& creator, uint64_t address, size_t bytes) {
  inject::Batch batch = creator.batch();
  batch.add("mmap", SYS_mmap,
            {address, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ULL, 0});
  creator.run(batch);
  trace::RemoteMemory(creator.pid()).write(RemoteAddr(address), std::span(mcr_blob_begin, mcr_blob_end));
  inject::Batch protect = creator.batch();
  protect.add("mprotect", SYS_mprotect, {address, parasite::kCodeBytes, PROT_READ | PROT_EXEC});
  creator.run(protect);
}

clone_args arguments_of(const SpawnRequest& request, const NewProcessPlan& plan) {
  clone_args args{};
  args.flags = request.shared | (request.sibling ? static_cast<uint64_t>(CLONE_PARENT) : 0);
  args.exit_signal = request.sibling ? 0 : static_cast<uint64_t>(request.exit_signal);
  if (request.shared & CLONE_VM) {
    args.stack_size = parasite::kStackBytes;
    args.stack = request.blob_address + blob_bytes(plan.data_bytes) - args.stack_size;
  }
  return args;
}

}  // namespace

Spawned spawn(Channel& creator, const SpawnRequest& request, const NewProcessPlan& plan) {
  const Step step("create process {}", request.pid);
  const bool shares_memory = request.shared & CLONE_VM, shares_files = request.shared & CLONE_FILES;
  sys::SocketPair pair = sys::make_socket_pair();
  const int theirs = pair.theirs.get();
  if (shares_memory) map_blob(creator, request.blob_address, blob_bytes(plan.data_bytes));
  auto number = static_cast<uint64_t>(creator.send(std::span(&theirs, 1)).front());
  inject::Batch batch = creator.batch();
  clone_args args = arguments_of(request, plan);
  if (request.pid != 0) {
    args.set_tid = batch.put_value(uint64_t(request.pid)).get();
    args.set_tid_size = 1;
  }
  uint32_t flags = parasite::kSpawnProcess;
  if (shares_memory || shares_files) {
    const auto own = static_cast<uint64_t>(request.socket_number);
    batch.add("dup3", SYS_dup3, {number, own, O_CLOEXEC});
    batch.add("close", SYS_close, {number});
    number = own;
    if (shares_memory) flags |= parasite::kSpawnSharingMemory;
    if (shares_files) flags |= parasite::kSpawnSharingFiles;
  }
  const uint64_t base = shares_memory ? request.blob_address : 0;
  const size_t clone =
      batch.add("clone3", SYS_clone3, {batch.put_value(args).get(), sizeof args, base, 0, 0, number}, flags);
  if (!shares_files) batch.add("close", SYS_close, {number});
  creator.run(batch);
  const auto inside = static_cast<pid_t>(batch.result(clone));
  const HostPid pid =
      plan.namespaces ? child_by_number_inside(creator.pid(), request.sibling, inside) : HostPid(inside);
  const uint64_t blob = shares_memory ? request.blob_address : plan.blob_address;
  return {pid, inside, std::make_unique<Channel>(pid, std::move(pair.ours), RemoteAddr(blob), plan.data_bytes), blob,
          shares_memory || shares_files ? request.socket_number : plan.socket_number};
}

namespace {

struct Birth {
  SpawnRequest request;
  UniqueFd ours;
  uint64_t number = 0;  // of the socket with the creator
  size_t call = 0;
};

inject::Batch births_of(Channel& creator, std::span<Birth> births, const NewProcessPlan& plan) {
  inject::Batch batch = creator.batch();
  for (Birth& birth : births) {
    clone_args args = arguments_of(birth.request, plan);
    args.set_tid = batch.put_value(uint64_t(birth.request.pid)).get();
    args.set_tid_size = 1;
    birth.call = batch.add("clone3", SYS_clone3, {batch.put_value(args).get(), sizeof args, 0, 0, 0, birth.number},
                           parasite::kSpawnProcess | parasite::kMayFail);
    batch.add("close", SYS_close, {birth.number});
  }
  return batch;
}

}  // namespace

// A child has copies of the sockets of those that are born after it, until it closes what it does not need. Our ends
// are in nobody's hands but ours.
void spawn_all(Channel& creator, std::span<const SpawnRequest> requests, const NewProcessPlan& plan,
               const std::function<void(size_t, Spawned)>& made) {
  constexpr size_t kAtOnce = 16;
  std::vector<Birth> births;
  {
    std::vector<UniqueFd> theirs;
    std::vector<int> numbers;
    for (const SpawnRequest& request : requests) {
      sys::SocketPair pair = sys::make_socket_pair();
      numbers.push_back(pair.theirs.get());
      theirs.push_back(std::move(pair.theirs));
      births.push_back({request, std::move(pair.ours)});
    }
    numbers = creator.send_all(numbers);
    for (size_t i = 0; i < births.size(); ++i) births[i].number = static_cast<uint64_t>(numbers[i]);
  }
  size_t begun = 0, told = 0;
  const auto tell = [&](size_t end) {
    for (; told < end; ++told) {
      Birth& birth = births[told];
      const HostPid pid(birth.request.pid);
      made(told, {pid, birth.request.pid,
                  std::make_unique<Channel>(pid, std::move(birth.ours), RemoteAddr(plan.blob_address), plan.data_bytes),
                  plan.blob_address, plan.socket_number});
    }
  };
  while (begun < births.size()) {
    const auto some = std::span(births).subspan(begun, std::min(kAtOnce, births.size() - begun));
    inject::Batch batch = births_of(creator, some, plan);
    creator.start(batch);
    tell(begun);
    creator.finish(batch);
    for (const Birth& birth : some) {
      const Step step("create process {}", birth.request.pid);
      if (const int64_t result = batch.result(birth.call); result != birth.request.pid)
        sys::throw_code(static_cast<int>(result < 0 ? -result : ESRCH), "clone3");
    }
    begun += some.size();
  }
  tell(begun);
}

NewProcess::~NewProcess() {
  if (released_) return;
  try {
    sys::try_kill(pid_, SIGKILL);
    for (auto& thread : threads_) thread->abandon();
    for (auto it = threads_.rbegin(); it != threads_.rend(); ++it)
      while (true) {
        const auto event = sys::wait_stop((*it)->tid(), soon());
        if (!event || event->kind == sys::StopEvent::Kind::ended) break;
      }
  } catch (const std::exception& e) {
    log::error("inject", "half-built process {} could not be removed: {}", pid_, e.what());
  }
}

// The numbers of its threads here, by those that they have in its own pid namespace.
std::map<pid_t, HostTid> NewProcess::host_tids() const {
  std::map<pid_t, HostTid> numbers;
  for (const HostTid tid : trace::threads_of(pid_)) {
    const auto status = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/task/{}/status", pid_, tid)));
    numbers.emplace(status.ns_pid.empty() ? tid.get() : status.ns_pid.back(), tid);
  }
  return numbers;
}

HostTid NewProcess::host_tid(pid_t inside) const {
  if (!plan_.namespaces) return HostTid(inside);
  const auto numbers = host_tids();
  const auto known = numbers.find(inside);
  if (known == numbers.end()) throw Error(Fault::system, fmt::format("there is no thread {}", inside));
  return known->second;
}

void NewProcess::seize_threads(const std::vector<pid_t>& tids) {
  const auto numbers = plan_.namespaces ? host_tids() : std::map<pid_t, HostTid>();
  for (const pid_t wanted : tids) {
    const auto known = numbers.find(wanted);
    if (plan_.namespaces && known == numbers.end())
      throw Error(Fault::system, fmt::format("new thread {} ended at once", wanted));
    const HostTid tid = plan_.namespaces ? known->second : HostTid(wanted);
    auto thread = trace::Tracee::seize(tid, kTraceSysGood | kExitKill, damage_);
    if (!thread || !thread->request_stop()) throw Error(Fault::system, fmt::format("new thread {} ended at once", tid));
    threads_.push_back(std::move(thread));
  }
  for (size_t i = 1; i < threads_.size(); ++i) threads_[i]->wait_until_stopped(soon());
}

void NewProcess::point_at_call(trace::Tracee& thread, RemoteAddr gadget, long number,
                               const std::array<uint64_t, 6>& args) {
  thread.stop_again(soon());
  sys::Registers r = sys::get_registers(thread.tid());
  r.rip = gadget.get();
  r.orig_rax = ~0ULL;
  r.rax = static_cast<uint64_t>(number);
  r.rdi = args[0], r.rsi = args[1], r.rdx = args[2], r.r10 = args[3], r.r8 = args[4], r.r9 = args[5];
  sys::set_registers(thread.tid(), r);
}

int64_t NewProcess::call(trace::Tracee& thread, RemoteAddr gadget, long number, const std::array<uint64_t, 6>& args) {
  point_at_call(thread, gadget, number, args);
  thread.run_to_syscall_border(soon());
  thread.run_to_syscall_border(soon());
  return static_cast<int64_t>(sys::get_registers(thread.tid()).rax);
}

// The interrupt is asked for while the thread stands at the entry: the call finds it pending, does not sleep, and the
// kernel itself fills the thread's restart block, with the time that we gave. A call that has nothing to wait for ends.
int64_t NewProcess::begin_call(trace::Tracee& thread, RemoteAddr gadget, long number,
                               const std::array<uint64_t, 6>& args) {
  point_at_call(thread, gadget, number, args);
  thread.run_to_syscall_border(soon());
  thread.request_stop();
  thread.run_to_syscall_border(soon());
  const auto result = static_cast<int64_t>(sys::get_registers(thread.tid()).rax);
  thread.request_stop();  // any stop uses up the request before it
  thread.run();           // as far as that stop, which comes before the next instruction
  if (!thread.wait_until_stopped(soon()))
    throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", thread.tid()));
  return result;
}

void NewProcess::make_room_for_tiles(trace::Tracee& thread) {
  const Step step("room for AMX tiles");
  constexpr unsigned char kCode[] = {0x0f, 0xae, 0x2f, 0x0f, 0x05};  // xrstor (%rdi); syscall
  constexpr uint64_t kTiles = 3 << 17;
  thread.stop_again(soon());
  const uint64_t code = plan_.blob_address + parasite::kCodeBytes - sizeof kCode;
  const uint64_t state = (channel_->area().base.get() + 63) / 64 * 64;
  std::vector<uint64_t> area(2048);  // 16 KiB; nothing but its header
  area[64] = kTiles;                 // XSTATE_BV at 512
  const trace::RemoteMemory memory(pid_);
  memory.write(RemoteAddr(code), std::as_bytes(std::span(kCode)));
  memory.write(RemoteAddr(state), std::as_bytes(std::span(area)));
  sys::Registers r = sys::get_registers(thread.tid());
  r.rip = code, r.rdi = state, r.rax = kTiles, r.rdx = 0, r.orig_rax = ~0ULL;
  sys::set_registers(thread.tid(), r);
  // rax is a system call number that is none (ENOSYS): only its border is of interest.
  thread.run_to_syscall_border(soon());
  thread.run_to_syscall_border(soon());
}

// It is let go first: a zombie that is traced cannot be. Our death still kills all, for the others have EXITKILL.
void NewProcess::end_leader(RemoteAddr gadget, int exit_code) {
  const Step step("end the leader");
  point_at_call(leader(), gadget, SYS_exit, {static_cast<uint64_t>(exit_code)});
  sys::set_options(leader().tid(), 0);
  leader().detach();
  const auto give_up = soon();
  for (;;) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", pid_));
    if (text && procfs::parse_stat(*text).state == 'Z') return;
    if (!text || sys::Clock::now() > *give_up) throw Error(Fault::system, "it did not end");
    ::sched_yield();
  }
}

// Each thread reaches the stop on its way back to user mode, before it has run an instruction there.
void NewProcess::stop_by_job_control() {
  sys::try_kill(pid_, SIGSTOP);
  for (auto& thread : threads_)
    if (!thread->gone()) thread->run_into_group_stop(soon());
}

// All signals are blocked: nothing ends the sleep but us.
void NewProcess::close_channel() {
  Batch batch = channel_->small_batch();
  batch.add("close", SYS_close, {static_cast<uint64_t>(remote_socket_)});
  batch.add("pause", SYS_pause, {});
  channel_->start_last(batch);
}

void NewProcess::suspend_seccomp(trace::Tracee& thread) {
  const bool was_running = !thread.stopped();
  thread.stop_again(soon());
  sys::set_options(thread.tid(), kTraceSysGood | kExitKill | sys::kSuspendSeccomp);
  if (was_running) thread.run();
}

trace::Tracee& NewProcess::thread(HostTid tid) {
  const auto thread = std::ranges::find_if(threads_, [&](const auto& one) { return one->tid() == tid; });
  if (thread == threads_.end()) throw Error(Fault::internal, fmt::format("process {} has no thread {}", pid_, tid));
  return **thread;
}

// While one thread still has EXITKILL, our death kills the whole group; taking it from the last one is the commit.
// No thread has run an instruction of the program yet.
void NewProcess::commit() {
  for (auto& thread : threads_)
    if (!thread->gone()) sys::set_options(thread->tid(), 0);
  released_ = true;
}

void NewProcess::release() {
  for (auto& thread : threads_)
    if (!thread->gone()) thread->detach();
}

}  // namespace mcr::inject
