#include "core/engine/timer_clocks.h"

#include <sys/syscall.h>
#include <time.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/trace/frozen_tree.h"
#include "images/proto/facets.pb.h"

namespace mcr::engine {
namespace {

// A clock of CPU time (posix-cpu-timers): bits 0 and 1 the kind, bit 2 "of a thread", above them the inverted id; 0 is
// the caller's own.
constexpr int kOfThread = 4;
pid_t id_of(int clock) {
  return ~(clock >> 3);
}
bool is_of_its_maker(const image::PosixTimer& timer) {
  return timer.clock() < 0 && (timer.clock() & kOfThread) && id_of(timer.clock()) == 0;
}

using Timers = std::vector<image::PosixTimer*>;

int64_t in_ns(const itimerspec& value) {
  return value.it_value.tv_sec * 1'000'000'000 + value.it_value.tv_nsec;
}

// What remains of each, `times` after each other. One that is not armed is, for as long as the batch lasts.
std::vector<std::vector<int64_t>> read(inject::ParasiteSession& parasite, const Timers& timers, int times) {
  inject::Batch batch = parasite.channel().batch();
  const itimerspec far{{0, 0}, {INT32_MAX, 0}}, off{};
  std::vector<std::vector<RemoteAddr>> slots(timers.size());
  for (size_t i = 0; i < timers.size(); ++i) {
    const auto id = static_cast<uint64_t>(timers[i]->id());
    if (timers[i]->value_ns() == 0)
      batch.add("timer_settime", SYS_timer_settime, {id, 0, batch.put_value(far).get(), 0});
    for (int n = 0; n < times; ++n) {
      slots[i].push_back(batch.reserve(sizeof(itimerspec)));
      batch.add("timer_gettime", SYS_timer_gettime, {id, slots[i].back().get()});
    }
    if (timers[i]->value_ns() == 0)
      batch.add("timer_settime", SYS_timer_settime, {id, 0, batch.put_value(off).get(), 0});
  }
  parasite.channel().run(batch);
  std::vector<std::vector<int64_t>> values(timers.size());
  for (size_t i = 0; i < timers.size(); ++i)
    for (const RemoteAddr slot : slots[i]) values[i].push_back(in_ns(batch.get<itimerspec>(slot)));
  return values;
}

// The host runs while it reads.
void find_those_of_host(inject::ParasiteSession& parasite, Timers& timers, pid_t host) {
  const auto values = read(parasite, timers, 3);
  Timers others;
  for (size_t i = 0; i < timers.size(); ++i)
    if (values[i].front() == values[i].back())
      others.push_back(timers[i]);
    else
      timers[i]->set_cpu_tid(host);
  timers = std::move(others);
}

// The others run when they are probed.
void find_threads(inject::ParasiteSession& parasite, trace::FrozenProcess& process,
                  const std::vector<ThreadFiles>& threads, const Timers& timers) {
  auto before = read(parasite, timers, 1);
  for (size_t t = 1; t < process.threads.size(); ++t) {
    parasite.begin_probe(*process.threads[t], threads.at(t).status);
    parasite.end_probe(*process.threads[t]);
    auto after = read(parasite, timers, 1);
    for (size_t i = 0; i < timers.size(); ++i)
      if (timers[i]->value_ns() != 0 && before[i] != after[i])
        timers[i]->set_cpu_tid(threads.at(t).status.ns_pid.back());
    before = std::move(after);
  }
}

}  // namespace

namespace {

// The clock holds the number as the program gave it.
bool has_thread(HostPid pid, pid_t inside) {
  const auto threads = trace::threads_of(pid);
  return std::any_of(threads.begin(), threads.end(), [&](HostTid tid) { return trace::number_inside(tid) == inside; });
}

}  // namespace

void refuse_foreign_clocks(HostPid pid, HostPid view) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/timers", view));
  if (!text) return;
  for (const procfs::Timer& timer : procfs::parse_timers(*text)) {
    if (timer.clock >= 0) continue;
    const pid_t id = id_of(timer.clock);
    const bool own = timer.clock & kOfThread ? has_thread(pid, id) : id == trace::number_inside(HostTid(pid.get()));
    if (id == 0 || own) continue;
    throw Error(Fault::refused,
                fmt::format("its POSIX timer {} measures the CPU time of {} {}, which is not its own", timer.id,
                            timer.clock & kOfThread ? "thread" : "process", id),
                "let the program delete that timer (timer_delete) before the dump");
  }
}

void name_timer_clocks(inject::ParasiteSession& parasite, trace::FrozenProcess& process,
                       const std::vector<ThreadFiles>& threads, image::ProcessCore& core) {
  for (auto& facet : *core.mutable_facets()) {
    image::PosixTimers message;
    if (!facet.UnpackTo(&message)) continue;
    Timers timers;
    for (auto& timer : *message.mutable_timers())
      if (is_of_its_maker(timer)) timers.push_back(&timer);
    if (timers.empty()) return;
    find_those_of_host(parasite, timers, process.leader_ended() ? threads.front().status.ns_pid.back() : 0);
    find_threads(parasite, process, threads, timers);
    for (const auto* timer : timers)
      if (timer->cpu_tid() == 0)
        throw Error(
            Fault::refused,
            fmt::format("its POSIX timer {} measures the CPU time of a thread that cannot be found out", timer->id()),
            timer->value_ns() == 0 ? "dump it while the timer is armed, or let the thread name itself as its "
                                     "clock (pthread_getcpuclockid)"
                                   : "that thread has ended: let the program delete the timer");
    facet.PackFrom(message);
  }
}

}  // namespace mcr::engine
