#include "core/inject/session.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>

#include "core/arch/cave.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/inject/cave_room.h"
#include "core/sys/failure.h"

extern "C" const std::byte mcr_blob_begin[], mcr_blob_end[];

namespace mcr::inject {
namespace {

constexpr uint64_t kAllSignals = ~0ULL;

bool failed(uint64_t result) {
  return static_cast<int64_t>(result) < 0 && static_cast<int64_t>(result) >= -4095;
}

}  // namespace

ParasiteSession::ParasiteSession(trace::FrozenProcess& process, trace::Tracee& host,
                                 const std::vector<procfs::Mapping>& mappings, Damage& damage,
                                 std::vector<trace::FrozenProcess*> in_memory, const procfs::Status* status)
    : process_(process),
      pid_(process.view()),
      host_(host),
      damage_(damage),
      memory_(process.view()),
      mappings_(mappings),
      in_memory_(std::move(in_memory)),
      total_(parasite::kCodeBytes + kDataBytes) {
  const Step step("infect");
  if (in_memory_.empty()) in_memory_.push_back(&process_);
  if (status) choose_signal(*status);
  find_cave();
  try {
    write_cave(cave_, host_);
    cave_written_ = true;
    host_signal_ == 0 ? map_blob() : map_blob_at_once();
    connect();
  } catch (...) {
    undo_attach();
    throw;
  }
}

ParasiteSession::~ParasiteSession() {
  if (cave_written_) undo_attach();
}

void ParasiteSession::undo_attach() noexcept {
  try {
    if (host_.gone()) return note_uncured("it was killed");
    cure();
  } catch (const std::exception& e) {
    note_uncured(e.what());
  }
}

// A memory that nobody has any more needs no cure.
void ParasiteSession::note_uncured(const char* why) {
  if (std::ranges::all_of(in_memory_, [](const auto* process) { return process->was_killed(); })) return;
  damage_.record(fmt::format("process {} could not be cured: {}", pid_, why));
  log::error("inject", "process {} could not be cured: {}", pid_, why);
}

std::vector<trace::Tracee*> ParasiteSession::threads_in_memory() const {
  std::vector<trace::Tracee*> threads;
  for (const trace::FrozenProcess* process : in_memory_)
    for (const auto& thread : process->threads) threads.push_back(thread.get());
  return threads;
}

void ParasiteSession::find_cave() {
  cave_bytes_ = cave_size();
  cave_ = find_caves(pid_, mappings_, [&](RemoteAddr at) { return is_free_cave(at, cave_bytes_); });
  probe_cave_ = cave_ + cave_bytes_;
}

// Nobody may be in there any more.
bool ParasiteSession::is_free_cave(RemoteAddr at, size_t bytes) const {
  for (const trace::Tracee* thread : threads_in_memory())
    if (thread->frame().rip - at.get() < bytes) return false;
  switch (look_at_cave(memory_, at)) {
    case CaveContent::zeros:
      return true;
    case CaveContent::code:
      return !is_awaited(at, bytes);
    case CaveContent::foreign:
      break;
  }
  return false;
}

// A signal may have come just when a thread was on its way back through the cave: then its handler runs now, and the
// frame below it on the stack leads back there. Looked for from each thread's stack pointer to the end of its mapping.
bool ParasiteSession::is_awaited(RemoteAddr at, size_t bytes) const {
  constexpr uint64_t kMost = 8 << 20;
  for (const trace::Tracee* thread : threads_in_memory()) {
    const uint64_t from = thread->frame().rsp / 8 * 8;
    const auto stack = std::find_if(mappings_.begin(), mappings_.end(),
                                    [&](const procfs::Mapping& m) { return from >= m.start && from < m.end; });
    if (stack == mappings_.end()) continue;
    std::vector<uint64_t> words(std::min(stack->end - from, kMost) / 8);
    if (!memory_.try_read(RemoteAddr(from), std::as_writable_bytes(std::span(words)))) return true;
    if (std::any_of(words.begin(), words.end(), [&](uint64_t word) { return word - at.get() < bytes; })) return true;
  }
  return false;
}

void ParasiteSession::write_cave(RemoteAddr at, const trace::Tracee& thread) {
  arch::CaveSettings settings;
  settings.frame = thread.frame();
  settings.signal_mask = thread.mask();
  settings.total_bytes = total_;
  settings.code_bytes = parasite::kCodeBytes;
  settings.sockets_offset = parasite::kDataOffset;
  memory_.write(at, arch::make_cave(settings));
}

sys::Registers ParasiteSession::entry_registers(const trace::Tracee& thread, RemoteAddr entry) const {
  sys::Registers registers = thread.frame();
  registers.rip = entry.get();
  registers.orig_rax = ~0ULL;  // no system call is to be restarted
  registers.rax = 0;
  registers.r12 = base_.get();
  registers.r13 = static_cast<uint64_t>(static_cast<int64_t>(remote_socket_));
  registers.eflags &= ~0x500ULL;  // no trap flag, no direction flag
  return registers;
}

// Registers first, then the mask: from the first moment on the cave brings the thread back to both.
void ParasiteSession::enter(trace::Tracee& thread, const sys::Registers& registers, uint64_t mask) {
  thread.borrow();
  sys::set_registers(thread.tid(), registers);
  sys::set_signal_mask(thread.tid(), mask);
}

namespace {

// A signal whose arrival the thread does not notice: ignored by default, without a handler, and not blocked, so that
// nobody can be waiting for it. Sent to a traced thread it stops it; sent to one whose tracer has died it is nothing.
int meaningless_signal(const procfs::Status& status, uint64_t but) {
  for (const int signal : {SIGURG, SIGWINCH, SIGCHLD})
    if (!((status.sig_caught | status.sig_blocked | but) >> (signal - 1) & 1)) return signal;
  return 0;
}

uint64_t all_but(int signal) {
  return signal == 0 ? kAllSignals : kAllSignals & ~(uint64_t{1} << (signal - 1));
}

}  // namespace

// Not one that waits already, which stays.
void ParasiteSession::choose_signal(const procfs::Status& status) {
  host_signal_ = meaningless_signal(status, status.sig_pending | status.shared_pending | host_.mask());
  host_tgid_ = static_cast<uint64_t>(status.ns_tgid.empty() ? status.tgid : status.ns_tgid.back());
  host_tid_ = static_cast<uint64_t>(status.ns_pid.empty() ? status.pid : status.ns_pid.back());
}

// Another signal of that kind may come from outside meanwhile, for which it stands elsewhere: nothing to the program,
// too, and not ours. false: it stands at the end of its way.
bool ParasiteSession::runs_to(uint64_t place) {
  for (;;) {
    host_.run_to_signal(host_signal_, soon());
    const uint64_t at = sys::get_registers(host_.tid()).rip;
    if (at == (cave_ + place).get()) return true;
    if (at == (cave_ + arch::cave_entries().left).get()) return false;
  }
}

void ParasiteSession::map_blob_at_once() {
  asked_for_sockets_ = true;  // from now on it is on a way that ends at `left`
  mapped_ = true;
  sys::Registers r = entry_registers(host_, cave_ + arch::cave_entries().attach);
  r.r14 = host_tgid_, r.r15 = host_tid_, r.rbp = static_cast<uint64_t>(host_signal_);
  enter(host_, r, all_but(host_signal_));
  const bool attached = runs_to(arch::cave_entries().attached);
  r = sys::get_registers(host_.tid());
  if (!attached) {
    mapped_ = false;
    if (failed(r.r12)) sys::throw_code(static_cast<int>(-static_cast<int64_t>(r.r12)), "map the parasite");
    throw_failed_unmap(r.r13);
    sys::throw_code(static_cast<int>(-static_cast<int64_t>(r.r14)), "map the parasite's code, or make its socket");
  }
  base_ = RemoteAddr(r.r12);
  sys::set_signal_mask(host_.tid(), kAllSignals);
}

void ParasiteSession::map_blob() {
  enter(host_, entry_registers(host_, cave_ + arch::cave_entries().attach), kAllSignals);
  const auto next_call = [&](const char* what) {
    host_.run_to_syscall_border(soon());  // entry
    host_.run_to_syscall_border(soon());  // exit
    const uint64_t result = sys::get_registers(host_.tid()).rax;
    if (failed(result)) sys::throw_code(static_cast<int>(-static_cast<int64_t>(result)), what);
    return result;
  };
  base_ = RemoteAddr(next_call("map the parasite"));
  mapped_ = true;
  next_call("map the parasite's code");
  asked_for_sockets_ = true;
  next_call("make the parasite's socket");
}

// The thread stands behind its socketpair(): fetch the other end, put the code in, let it close its copy and wait for
// the go.
void ParasiteSession::connect() {
  int32_t sockets[2];
  sys::read_memory(pid_, base_ + parasite::kDataOffset, sockets, sizeof sockets);
  remote_socket_ = sockets[0];
  UniqueFd ours = sys::get_fd(process_.descriptors_pidfd(), sockets[1]);
  memory_.write(base_, std::span(mcr_blob_begin, mcr_blob_end));
  channel_ = std::make_unique<Channel>(pid_, std::move(ours), base_, kDataBytes);
  channel_->set_tracee(&host_);
  channel_->go();
  host_.run();
  is_entered_ = true;
}

namespace {

struct Answer {
  stack_t stack;
  uint64_t tid_address;
  int32_t tsc_mode, death_signal;
};
constexpr int32_t kNotYet = -1;

}  // namespace

// The thread answers by system calls only, never by a store: should we die and the host unmap the parasite meanwhile, a
// call fails where a store would be a fault. At the end it stops itself by a signal; where none can be had, it is
// watched on its way from call to call.
void ParasiteSession::begin_probe(trace::Tracee& thread, const procfs::Status& status) {
  Answer answer{};
  answer.death_signal = kNotYet;
  const RemoteAddr at = base_ + parasite::kDataOffset + sizeof(parasite::Control);  // the rest of the control page
  sys::write_memory(pid_, at, &answer, sizeof answer);
  write_cave(probe_cave_, thread);
  probe_signal_ = meaningless_signal(status, 0);
  probed_ = &thread;
  sys::Registers r = entry_registers(thread, probe_cave_ + arch::cave_entries().probe);
  r.rdi = at.get();
  r.rsi = (at + offsetof(Answer, tid_address)).get();
  r.rdx = (at + offsetof(Answer, death_signal)).get();
  r.r14 = static_cast<uint64_t>(status.ns_tgid.empty() ? status.tgid : status.ns_tgid.back());
  r.r15 = static_cast<uint64_t>(status.ns_pid.empty() ? status.pid : status.ns_pid.back());
  r.rbp = static_cast<uint64_t>(probe_signal_);
  enter(thread, r, all_but(probe_signal_));
  if (probe_signal_ != 0) thread.run();
}

ThreadProbe ParasiteSession::end_probe(trace::Tracee& thread) {
  const RemoteAddr at = base_ + parasite::kDataOffset + sizeof(parasite::Control);
  if (probe_signal_ != 0)
    await_signal(thread, probe_signal_);
  else
    run_to_call(thread, SYS_tgkill);
  const sys::Registers r = sys::get_registers(thread.tid());
  thread.give_back();
  probed_ = nullptr;
  Answer answer{};
  sys::read_memory(pid_, at, &answer, sizeof answer);
  if (answer.death_signal == kNotYet)
    throw Error(Fault::timeout, fmt::format("thread {} does not answer", thread.tid()));
  ThreadProbe probe{reinterpret_cast<uint64_t>(answer.stack.ss_sp), answer.stack.ss_size,
                    static_cast<uint32_t>(answer.stack.ss_flags), answer.tid_address, answer.death_signal};
  probe.tsc_mode = answer.tsc_mode;
  probe.mce_policy = static_cast<int>(r.r9);
  probe.securebits = static_cast<uint32_t>(r.r8);
  probe.faults_cpuid = r.r10 == 0;
  return probe;
}

// Busy waiting: it is a matter of microseconds, and waking a halted processor takes longer. After a while the processor
// is left to the thread: it may have none, least of all where mini-criu has a higher priority.
void ParasiteSession::await_signal(trace::Tracee& thread, int signal) {
  constexpr timespec kTurn{0, 50'000};
  const auto start = sys::Clock::now();
  const auto give_up = start + std::chrono::seconds(10);
  for (auto now = start; now < give_up; now = sys::Clock::now()) {
    if (thread.poll_for_signal(signal)) return;
    if (now - start > std::chrono::milliseconds(1)) ::nanosleep(&kTurn, nullptr);
  }
  thread.stop_again(soon());
}

// Stops it behind this call.
void ParasiteSession::run_to_call(trace::Tracee& thread, long number) {
  do thread.run_to_syscall_border(soon());
  while (sys::get_registers(thread.tid()).orig_rax != static_cast<uint64_t>(number));
  thread.run_to_syscall_border(soon());
}

HostQuestions::HostQuestions(Batch& batch)
    : stack_(batch.reserve(sizeof(stack_t))), tid_(batch.reserve(8)), death_(batch.reserve(8)), tsc_(batch.reserve(8)) {
  batch.add("sigaltstack", SYS_sigaltstack, {0, stack_.get()});
  batch.add("prctl(PR_GET_TID_ADDRESS)", SYS_prctl, {40, tid_.get()});
  batch.add("prctl(PR_GET_PDEATHSIG)", SYS_prctl, {PR_GET_PDEATHSIG, death_.get()});
  batch.try_add("prctl(PR_GET_TSC)", SYS_prctl, {PR_GET_TSC, tsc_.get()});
  mce_ = batch.try_add("prctl(PR_MCE_KILL_GET)", SYS_prctl, {PR_MCE_KILL_GET, 0, 0, 0, 0});
  securebits_ = batch.add("prctl(PR_GET_SECUREBITS)", SYS_prctl, {PR_GET_SECUREBITS});
  cpuid_ = batch.try_add("arch_prctl(ARCH_GET_CPUID)", SYS_arch_prctl, {0x1011, 0});
}

ThreadProbe HostQuestions::answers(const Batch& batch) const {
  const auto altstack = batch.get<stack_t>(stack_);
  ThreadProbe probe{reinterpret_cast<uint64_t>(altstack.ss_sp), altstack.ss_size,
                    static_cast<uint32_t>(altstack.ss_flags), batch.get<uint64_t>(tid_), batch.get<int32_t>(death_)};
  probe.tsc_mode = batch.get<int32_t>(tsc_);
  probe.mce_policy = static_cast<int>(batch.result(mce_));
  probe.securebits = static_cast<uint32_t>(batch.result(securebits_));
  probe.faults_cpuid = batch.result(cpuid_) == 0;
  return probe;
}

// The way that the program would go by itself if we died here: the socket closes, the parasite returns to its cave,
// which closes and unmaps. We only watch for the end of the munmap, so that the frame is put back by ptrace, with the
// interrupted system call exactly as it was.
void ParasiteSession::leave() {
  if (channel_)
    channel_->close();
  else if (!asked_for_sockets_)
    enter(host_, entry_registers(host_, cave_ + arch::cave_entries().unmap), kAllSignals);
  constexpr uint64_t kNotYet = static_cast<uint64_t>(-38);  // rax at a system call's entry is -ENOSYS
  for (;;) {
    host_.run_to_syscall_border(soon());
    const sys::Registers r = sys::get_registers(host_.tid());
    if (r.orig_rax != SYS_munmap || r.rax == kNotYet || r.rdi != base_.get()) continue;
    throw_failed_unmap(r.rax);
    mapped_ = false;
    return;
  }
}

void ParasiteSession::throw_failed_unmap(uint64_t result) const {
  if (failed(result)) sys::throw_code(static_cast<int>(-static_cast<int64_t>(result)), "unmap the parasite");
}

// The same way, on which it stops itself. Where the parasite has nothing else to do than to wait, the end of it is
// entered here.
void ParasiteSession::leave_at_once() {
  if (is_entered_ && channel_->is_bare()) {
    sys::Registers r = entry_registers(host_, cave_ + arch::cave_entries().leave);
    r.rbx = host_tgid_, r.r15 = host_tid_, r.rbp = static_cast<uint64_t>(host_signal_);
    sys::set_registers(host_.tid(), r);
  }
  if (channel_) channel_->close();
  sys::set_signal_mask(host_.tid(), all_but(host_signal_));
  runs_to(arch::cave_entries().left);
  throw_failed_unmap(sys::get_registers(host_.tid()).r13);
  mapped_ = false;
}

void ParasiteSession::cure() {
  if (!cave_written_) return;
  const Step step("cure process {}", pid_);
  if (probed_) {  // it stands in its cave, or runs there
    probed_->stop_again(soon());
    probed_->give_back();
    probed_ = nullptr;
  }
  host_.stop_again(soon());
  if (mapped_) host_signal_ == 0 ? leave() : leave_at_once();
  host_.give_back();
  const std::vector<std::byte> zeros(2 * cave_bytes_);
  memory_.write(cave_, zeros);
  cave_written_ = false;
}

}  // namespace mcr::inject
