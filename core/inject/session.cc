#include "core/inject/session.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/arch/cave.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/failure.h"

extern "C" const std::byte mcr_blob_begin[], mcr_blob_end[];

namespace mcr::inject {
namespace {

constexpr uint64_t kAllSignals = ~0ULL;

uint64_t aligned(uint64_t value) {
  return (value + 15) / 16 * 16;
}

bool failed(uint64_t result) {
  return static_cast<int64_t>(result) < 0 && static_cast<int64_t>(result) >= -4095;
}

}  // namespace

ParasiteSession::ParasiteSession(trace::FrozenProcess& process, const std::vector<procfs::Mapping>& mappings,
                                 Damage& damage)
    : process_(process),
      pid_(process.pid),
      host_(*process.threads.front()),
      damage_(damage),
      memory_(process.pid),
      total_(parasite::kCodeBytes + kDataBytes) {
  const Step step("infect");
  find_cave(mappings);
  try {
    write_cave(cave_, host_);
    cave_written_ = true;
    map_blob();
    connect();
  } catch (...) {
    undo_attach();
    throw;
  }
}

ParasiteSession::~ParasiteSession() {
  if (!cave_written_) return;
  try {
    if (host_.gone()) return;
    cure();
  } catch (const std::exception& e) {
    damage_.record(fmt::format("process {} could not be cured: {}", pid_, e.what()));
    log::error("inject", "process {} could not be cured: {}", pid_, e.what());
  }
}

// Two caves: one for the thread that hosts the parasite, one for the threads probed meanwhile. The vdso is mapped from
// the kernel's own image and ends in zeros; the last page of a file's text usually does too.
void ParasiteSession::find_cave(const std::vector<procfs::Mapping>& mappings) {
  cave_bytes_ = aligned(arch::cave_entries().size);
  const size_t needed = 2 * cave_bytes_;
  const auto consider = [&](const procfs::Mapping& m) {
    if (m.size() < needed + 32) return false;
    cave_ = RemoteAddr((m.end - needed) / 16 * 16);
    probe_cave_ = cave_ + cave_bytes_;
    return is_free_cave(cave_, cave_bytes_) && is_free_cave(probe_cave_, cave_bytes_);
  };
  const auto executable = [](const procfs::Mapping& m) {
    return (m.prot & PROT_EXEC) && (m.prot & PROT_READ) && !m.shared;
  };
  for (const auto& m : mappings)
    if (m.path == "[vdso]" && consider(m)) return;
  for (const auto& m : mappings)
    if (executable(m) && !m.path.empty() && m.path.front() == '/' && consider(m)) return;
  throw Error(Fault::refused, fmt::format("process {} has no room for {} bytes of code", pid_, needed),
              "it has neither a vdso nor an executable mapping that ends in zeros");
}

// Zeros, or what a dump left that was killed: the same code. Nobody may be in there any more.
bool ParasiteSession::is_free_cave(RemoteAddr at, size_t bytes) const {
  std::vector<std::byte> now(bytes);
  if (!memory_.try_read(at, now)) return false;
  for (const auto& thread : process_.threads)
    if (thread->frame().rip - at.get() < bytes) return false;
  if (std::all_of(now.begin(), now.end(), [](std::byte b) { return b == std::byte{0}; })) return true;
  const auto code = arch::cave_code();
  return std::equal(code.begin(), code.end(), now.begin());
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

// Registers first, then the mask: from the first moment on the cave brings the thread back to both.
void ParasiteSession::point(trace::Tracee& thread, RemoteAddr entry, uint64_t rdi, uint64_t rsi, uint64_t rdx) {
  sys::Registers registers = thread.frame();
  registers.rip = entry.get();
  registers.orig_rax = ~0ULL;  // no system call is to be restarted
  registers.rax = 0;
  registers.rdi = rdi;
  registers.rsi = rsi;
  registers.rdx = rdx;
  registers.r12 = base_.get();
  registers.r13 = static_cast<uint64_t>(static_cast<int64_t>(remote_socket_));
  registers.eflags &= ~0x500ULL;  // no trap flag, no direction flag
  thread.borrow();
  sys::set_registers(thread.tid(), registers);
  sys::set_signal_mask(thread.tid(), kAllSignals);
}

void ParasiteSession::map_blob() {
  point(host_, cave_ + arch::cave_entries().attach);
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
  next_call("make the parasite's socket");
}

// The thread stands behind its socketpair(): fetch the other end, put the code in, let it close its copy and wait for
// the go.
void ParasiteSession::connect() {
  int32_t sockets[2];
  sys::read_memory(pid_, base_ + parasite::kDataOffset, sockets, sizeof sockets);
  remote_socket_ = sockets[0];
  UniqueFd ours = sys::get_fd(process_.pidfd.get(), sockets[1]);
  memory_.write(base_, std::span(mcr_blob_begin, mcr_blob_end));
  channel_ = std::make_unique<Channel>(pid_, std::move(ours), base_, kDataBytes);
  channel_->set_tracee(&host_);
  channel_->go();
  host_.run();
}

void ParasiteSession::undo_attach() noexcept {
  try {
    if (host_.gone()) return;
    cure();
  } catch (const std::exception& e) {
    damage_.record(fmt::format("process {} could not be cured: {}", pid_, e.what()));
  }
}

ThreadProbe ParasiteSession::probe(trace::Tracee& thread) {
  // The rest of the control page is free for it.
  const RemoteAddr altstack = base_ + parasite::kDataOffset + sizeof(parasite::Control);
  const RemoteAddr tid_address = altstack + sizeof(stack_t);
  const RemoteAddr death_signal = tid_address + sizeof(uint64_t);
  write_cave(probe_cave_, thread);
  point(thread, probe_cave_ + arch::cave_entries().probe, altstack.get(), tid_address.get(), death_signal.get());
  for (int border = 0; border < 6; ++border) thread.run_to_syscall_border(soon());
  thread.give_back();
  struct {
    stack_t stack;
    uint64_t tid_address;
    int32_t death_signal;
  } answer;
  sys::read_memory(pid_, altstack, &answer, sizeof answer);
  return {reinterpret_cast<uint64_t>(answer.stack.ss_sp), answer.stack.ss_size,
          static_cast<uint32_t>(answer.stack.ss_flags), answer.tid_address, answer.death_signal};
}

ThreadProbe ParasiteSession::probe_host() {
  Batch batch = channel_->batch();
  const RemoteAddr stack = batch.reserve(sizeof(stack_t)), tid = batch.reserve(8), death = batch.reserve(8);
  batch.add("sigaltstack", SYS_sigaltstack, {0, stack.get()});
  batch.add("prctl(PR_GET_TID_ADDRESS)", SYS_prctl, {40, tid.get()});
  batch.add("prctl(PR_GET_PDEATHSIG)", SYS_prctl, {2, death.get()});
  channel_->run(batch);
  const auto altstack = batch.get<stack_t>(stack);
  return {reinterpret_cast<uint64_t>(altstack.ss_sp), altstack.ss_size, static_cast<uint32_t>(altstack.ss_flags),
          batch.get<uint64_t>(tid), batch.get<int32_t>(death)};
}

// The way that the program would go by itself if we died here: the socket closes, the parasite returns to its cave,
// which closes and unmaps. We only watch for the end of the munmap, so that the frame is put back by ptrace, with the
// interrupted system call exactly as it was.
void ParasiteSession::leave() {
  if (channel_)
    channel_->close();
  else
    point(host_, cave_ + (remote_socket_ >= 0 ? arch::cave_entries().leave : arch::cave_entries().unmap));
  constexpr uint64_t kNotYet = static_cast<uint64_t>(-38);  // rax at a system call's entry is -ENOSYS
  for (;;) {
    host_.run_to_syscall_border(soon());
    const sys::Registers r = sys::get_registers(host_.tid());
    if (r.orig_rax != SYS_munmap || r.rax == kNotYet || r.rdi != base_.get()) continue;
    if (failed(r.rax)) sys::throw_code(static_cast<int>(-static_cast<int64_t>(r.rax)), "unmap the parasite");
    mapped_ = false;
    return;
  }
}

void ParasiteSession::cure() {
  if (!cave_written_) return;
  const Step step("cure process {}", pid_);
  host_.stop_again(soon());
  if (mapped_) leave();
  host_.give_back();
  const std::vector<std::byte> zeros(2 * cave_bytes_);
  memory_.write(cave_, zeros);
  cave_written_ = false;
}

}  // namespace mcr::inject
