#include "core/engine/timer_clocks.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <set>

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

constexpr int64_t kSecond = 1'000'000'000;
using Timers = std::vector<image::PosixTimer*>;

int64_t in_ns(const itimerspec& value) {
  return value.it_value.tv_sec * kSecond + value.it_value.tv_nsec;
}

// What remains of each, `times` after each other. One that is not armed is, for as long as the batch lasts: never one
// whose signal waits to be taken, as setting a timer voids that signal (6.13).
std::vector<std::vector<int64_t>> read(inject::ParasiteSession& parasite, const Timers& timers, int times) {
  inject::Batch batch = parasite.channel().batch();
  const itimerspec far{{0, 0}, {INT32_MAX, 0}};
  std::vector<std::vector<RemoteAddr>> slots(timers.size());
  for (size_t i = 0; i < timers.size(); ++i) {
    const auto id = static_cast<uint64_t>(timers[i]->id());
    if (timers[i]->value_ns() == 0)
      batch.add("timer_settime", SYS_timer_settime, {id, 0, batch.put_value(far).get(), 0});
    for (int n = 0; n < times; ++n) {
      slots[i].push_back(batch.reserve(sizeof(itimerspec)));
      batch.add("timer_gettime", SYS_timer_gettime, {id, slots[i].back().get()});
    }
    const itimerspec off{{timers[i]->interval_ns() / kSecond, timers[i]->interval_ns() % kSecond}, {0, 0}};
    if (timers[i]->value_ns() == 0)
      batch.add("timer_settime", SYS_timer_settime, {id, 0, batch.put_value(off).get(), 0});
  }
  parasite.channel().run(batch);
  std::vector<std::vector<int64_t>> values(timers.size());
  for (size_t i = 0; i < timers.size(); ++i)
    for (const RemoteAddr slot : slots[i]) values[i].push_back(in_ns(batch.get<itimerspec>(slot)));
  return values;
}

// 0: the leader, whose number need not be told.
pid_t number_of(const trace::FrozenProcess& process, const std::vector<ThreadFiles>& threads, size_t index) {
  return index == 0 && !process.leader_ended() ? 0 : threads.at(index).status.ns_pid.back();
}

// Takes away from `timers` those that have moved.
void name_moved(Timers& timers, const std::vector<std::vector<int64_t>>& before,
                const std::vector<std::vector<int64_t>>& after, pid_t thread) {
  Timers others;
  for (size_t i = 0; i < timers.size(); ++i)
    if (before[i].front() == after[i].back())
      others.push_back(timers[i]);
    else
      timers[i]->set_cpu_tid(thread);
  timers = std::move(others);
}

// The host runs while it reads, the others when they are probed.
void find_threads(inject::ParasiteSession& parasite, trace::FrozenProcess& process,
                  const std::vector<ThreadFiles>& threads, size_t host, Timers& timers) {
  const auto values = read(parasite, timers, 3);
  name_moved(timers, values, values, number_of(process, threads, host));
  for (size_t t = 0; t < process.threads.size() && !timers.empty(); ++t) {
    if (t == host) continue;
    const auto before = read(parasite, timers, 1);
    parasite.begin_probe(*process.threads[t], threads.at(t).status);
    parasite.end_probe(*process.threads[t]);
    // One that is not armed measures nothing between two readings.
    const auto after = read(parasite, timers, 1);
    name_moved(timers, before, after, number_of(process, threads, t));
  }
}

void note_signals(const google::protobuf::RepeatedPtrField<google::protobuf::Any>& facets, std::set<int>& timers) {
  for (const auto& facet : facets) {
    image::PendingSignals message;
    if (!facet.UnpackTo(&message)) continue;
    for (const std::string& bytes : message.siginfo()) {
      siginfo_t info{};
      std::memcpy(&info, bytes.data(), std::min(bytes.size(), sizeof info));
      if (info.si_code == SI_TIMER) timers.insert(info.si_timerid);
    }
  }
}

// Those that are not armed and whose signal waits must not be touched. Where there is but one thread it is that one's.
void name_waiting(const tree::ProcessImage& image, Timers& timers) {
  std::set<int> waiting;
  note_signals(image.core.facets(), waiting);
  for (const auto& thread : image.threads) note_signals(thread.facets(), waiting);
  Timers others;
  for (auto* timer : timers) {
    if (timer->value_ns() != 0 || !waiting.contains(timer->id())) {
      others.push_back(timer);
      continue;
    }
    if (image.threads.size() > 1)
      throw Error(Fault::refused,
                  fmt::format("its POSIX timer {} has expired, its signal {} waits, and which thread's CPU time it "
                              "measures cannot be found out without taking that signal away",
                              timer->id(), timer->signal()),
                  "let the program take that signal, or name the thread as its clock (pthread_getcpuclockid)");
  }
  timers = std::move(others);
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
                       const std::vector<ThreadFiles>& threads, size_t host, tree::ProcessImage& image) {
  for (auto& facet : *image.core.mutable_facets()) {
    image::PosixTimers message;
    if (!facet.UnpackTo(&message)) continue;
    Timers timers;
    for (auto& timer : *message.mutable_timers())
      if (is_of_its_maker(timer)) timers.push_back(&timer);
    name_waiting(image, timers);
    if (timers.empty()) return;
    find_threads(parasite, process, threads, host, timers);
    if (!timers.empty())
      throw Error(Fault::refused,
                  fmt::format("its POSIX timer {} measures the CPU time of a thread that cannot be found out",
                              timers.front()->id()),
                  timers.front()->value_ns() == 0
                      ? "dump it while the timer is armed, or let the thread name itself as its "
                        "clock (pthread_getcpuclockid)"
                      : "that thread has ended: let the program delete the timer");
    facet.PackFrom(message);
  }
}

}  // namespace mcr::engine
