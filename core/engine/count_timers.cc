#include "core/engine/count_timers.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "core/base/error.h"
#include "core/facets/timer_calls.h"

namespace mcr::engine {
namespace {

// From number `from` up to `to`, which is not made.
void skip(inject::Channel& channel, int from, int to) {
  constexpr int kAtOnce = 1000;
  sigevent silent{};
  silent.sigev_notify = SIGEV_NONE;
  for (int next = from; next < to;) {
    inject::Batch batch = channel.batch();
    const RemoteAddr event = batch.put_value(silent), id = batch.reserve(8);
    for (const int end = std::min(next + kAtOnce, to); next < end; ++next) {
      batch.add("timer_create", SYS_timer_create, {CLOCK_MONOTONIC, event.get(), id.get()});
      batch.add("timer_delete", SYS_timer_delete, {static_cast<uint64_t>(next)});
    }
    channel.run(batch);
  }
}

}  // namespace

void count_timers(inject::Channel& channel, const facets::TimerSignals& timers) {
  int next = 0;
  for (const auto& [id, timer] : timers.timers) {
    const Step step("POSIX timer {}", id);
    if (id > kMostCountedTimers) throw Error(Fault::image, "its number is too high to be counted up to");
    skip(channel, next, id);
    inject::Batch batch = channel.batch();
    inject::CallList calls;
    facets::create_timer(timer, timers, calls, batch);
    const RemoteAddr made(calls.calls().front().args[2]);
    batch.append(calls);
    channel.run(batch);
    if (const auto number = batch.get<int32_t>(made); number != id)
      throw Error(Fault::system, fmt::format("the kernel has given it the number {}", number));
    next = id + 1;
  }
}

}  // namespace mcr::engine
