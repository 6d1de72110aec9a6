#include "core/engine/spawn_threads.h"

#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "core/arch/cave.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/failure.h"

namespace mcr::engine {
namespace {

constexpr uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

// One counter for all; placed by the first thread's creation.
RemoteAddr done_counter(const std::vector<ThreadWork>& threads) {
  return threads.front().calls;
}

// The same call with what was left of its time-out instead of the whole.
bool shorten(const image::SyscallRestart& restart, std::array<uint64_t, 6>& args, RemoteAddr timespec_at) {
  switch (restart.number()) {
    case SYS_nanosleep:
      args[0] = timespec_at.get();
      return true;
    case SYS_clock_nanosleep:
      args[2] = timespec_at.get();
      return true;
    case SYS_futex:  // FUTEX_WAIT: a duration; any other: a moment, which stands
      if ((args[1] & 0x7f) == 0) args[3] = timespec_at.get();
      return true;
    case SYS_poll:
      args[2] = (restart.remaining_ns() + 999'999) / 1'000'000;
      if (args[2] > INT_MAX) args[2] = UINT64_MAX;  // no limit
      return true;
    default:
      return false;
  }
}

}  // namespace

std::vector<ThreadWork> plan_threads(const tree::ProcessImage& image, const procfs::Status& own, inject::Batch& batch,
                                     facets::TimerSignals& timers) {
  std::vector<ThreadWork> threads;
  threads.reserve(image.threads.size());
  const auto all = facets::thread_facets();
  for (const auto& core : image.threads) {
    const Step step("thread {}", core.tid());
    ThreadWork work{{image.core.pid(), core.tid(), own, batch, timers, {}, {}, {}}, {}, 0};
    std::string name = core.name().substr(0, 15);
    work.plan.calls.add("prctl(PR_SET_NAME)", SYS_prctl, {PR_SET_NAME, batch.put_string(name).get()});
    for (const auto& any : core.facets()) {
      const bool known =
          std::any_of(all.begin(), all.end(), [&](const auto& facet) { return facet->restore(any, work.plan); });
      if (!known)
        throw Error(Fault::image, fmt::format("state of type {} is not known to this version", any.type_url()));
    }
    threads.push_back(std::move(work));
  }
  return threads;
}

void add_thread_creation(inject::Batch& batch, std::vector<ThreadWork>& threads, pid_t) {
  threads.front().calls = batch.put_value(uint64_t{0});
  for (size_t i = 1; i < threads.size(); ++i) {
    ThreadWork& work = threads[i];
    std::vector<parasite::Call> calls = work.plan.calls.calls();
    if (!work.last_is_later) calls.insert(calls.end(), work.plan.last.calls().begin(), work.plan.last.calls().end());
    work.count = calls.size();
    work.calls = batch.put(std::as_bytes(std::span(calls)));
    const parasite::ThreadBatch thread_batch{work.calls.get(), calls.size(), done_counter(threads).get()};
    const RemoteAddr tid = batch.put_value(uint64_t(work.plan.tid));
    clone_args args{};
    args.flags = kThreadFlags;
    args.set_tid = tid.get();
    args.set_tid_size = 1;
    batch.add("clone3", SYS_clone3,
              {batch.put_value(args).get(), sizeof args, 0, 0, 0, batch.put_value(thread_batch).get()},
              parasite::kSpawnThread);
  }
}

void wait_for_threads(inject::Channel& channel, inject::Batch& batch, const std::vector<ThreadWork>& threads) {
  const auto give_up = sys::Clock::now() + std::chrono::seconds(30);
  for (;;) {
    uint32_t done = 0;
    sys::read_memory(channel.pid(), done_counter(threads), &done, sizeof done);
    if (done == threads.size() - 1) break;
    if (sys::Clock::now() > give_up)
      throw Error(Fault::timeout, fmt::format("{} of {} threads are ready", done, threads.size() - 1));
    ::sched_yield();
  }
  (void)batch;
  for (size_t i = 1; i < threads.size(); ++i) {
    std::vector<parasite::Call> calls(threads[i].count);
    sys::read_memory(channel.pid(), threads[i].calls, calls.data(), calls.size() * sizeof(parasite::Call));
    const auto& names = threads[i].plan.calls.names();
    for (size_t k = 0; k < calls.size(); ++k) {
      const bool failed = calls[k].result < 0 && calls[k].result >= -4095 && !(calls[k].flags & parasite::kMayFail);
      if (!failed) continue;
      const Step step("thread {}", threads[i].plan.tid);
      const char* name = k < names.size() ? names[k] : threads[i].plan.last.names()[k - names.size()];
      sys::throw_code(static_cast<int>(-calls[k].result), inject::describe_call(name, calls[k]));
    }
  }
}

void prime_restarts(inject::NewProcess& process, const tree::ProcessImage& image, RemoteAddr gadget, RemoteAddr buffer,
                    std::vector<sys::Registers>& frames) {
  for (size_t i = 0; i < image.threads.size(); ++i) {
    const auto& restart = image.threads[i].restart();
    if (!restart.present()) continue;
    trace::Tracee& thread = *process.threads()[i];
    const Step step("restart of system call {} in thread {}", restart.number(), thread.tid());
    sys::Registers& f = frames[i];
    std::array<uint64_t, 6> args{f.rdi, f.rsi, f.rdx, f.r10, f.r8, f.r9};
    if (!shorten(restart, args, buffer)) {
      log::warning("engine", "thread {}: its sleep cannot be continued, it ends with EINTR", thread.tid());
      continue;  // the kernel makes EINTR of a restart without a restart block
    }
    const timespec left{static_cast<time_t>(restart.remaining_ns() / 1'000'000'000),
                        static_cast<long>(restart.remaining_ns() % 1'000'000'000)};
    thread.stop_again(sys::Clock::now() + std::chrono::seconds(10));
    sys::write_memory(process.pid(), buffer, &left, sizeof left);
    const int64_t result = process.begin_call(thread, gadget, restart.number(), args);
    if (result != arch::kRestartBlock) f.rax = static_cast<uint64_t>(result);
    log::debug("engine", "thread {}: system call {} goes on with {} us left: {}", thread.tid(), restart.number(),
               restart.remaining_ns() / 1000, result);
  }
}

}  // namespace mcr::engine
