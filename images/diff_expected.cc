#include "images/diff_expected.h"

#include <google/protobuf/descriptor.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "images/format.h"
#include "images/kernel_writes.h"
#include "images/proto/facets.pb.h"
#include "images/proto/files.pb.h"

namespace mcr::images {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr uint64_t kSlackNs = 1'000'000'000;  // between the state and the clocks that are noted when it is written

std::string_view last_of(std::string_view path) {
  return path.substr(path.rfind('.') + 1);
}

uint64_t number_of(const Message& m, std::string_view name) {
  const auto* f = m.GetDescriptor()->FindFieldByName(std::string(name));
  if (!f || f->is_repeated()) return 0;
  const auto& r = *m.GetReflection();
  if (f->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) return r.GetUInt64(m, f);
  if (f->cpp_type() == FieldDescriptor::CPPTYPE_INT64)
    return static_cast<uint64_t>(std::max<int64_t>(r.GetInt64(m, f), 0));
  return 0;
}

bool always(const FieldChange&, const DiffContext&) {
  return true;
}

bool is_later(const FieldChange& change, const DiffContext&) {
  const std::string_view name = last_of(change.field);
  return number_of(*change.b, name) >= number_of(*change.a, name);
}

bool is_parent_outside(const FieldChange& change, const DiffContext& context) {
  const auto parent = [](const Message* m) { return static_cast<const image::ProcessCore*>(m)->ppid(); };
  return !context.pids.contains(parent(change.a)) && !context.pids.contains(parent(change.b));
}

bool is_stopped_by_restore(const FieldChange& change, const DiffContext&) {
  const auto& a = *static_cast<const image::ProcessCore*>(change.a);
  const auto& b = *static_cast<const image::ProcessCore*>(change.b);
  return b.stopped() && b.stop_signal() == SIGSTOP && (!a.stopped() || a.stop_signal() != SIGSTOP);
}

bool is_remaining_time(const FieldChange& change, const DiffContext& context) {
  const std::string_view name = last_of(change.field);
  const uint64_t unit = name.ends_with("_us") ? 1000 : 1;
  const uint64_t interval = number_of(*change.a, name.ends_with("_us") ? "interval_us" : "interval_ns");
  return is_time_left(number_of(*change.a, name) * unit, number_of(*change.b, name) * unit, interval * unit,
                      context.elapsed_ns);
}

bool is_from_expired_timer(const FieldChange& change, const DiffContext& context) {
  siginfo_t info{};
  if (!change.a_bytes.empty() || change.b_bytes.size() != sizeof info) return false;
  std::memcpy(&info, change.b_bytes.data(), sizeof info);
  if (info.si_code != SI_TIMER && info.si_code != SI_KERNEL) return false;
  return std::any_of(context.timers.begin(), context.timers.end(), [&](const ArmedTimer& timer) {
    return timer.signal == info.si_signo && timer.remaining_ns <= context.elapsed_ns;
  });
}

// A component in its initial state may be marked as used or not, and stand there or not.
bool is_initial_component(const image::ExtendedComponent& component) {
  constexpr std::string_view kLinuxPkru("\x54\x55\x55\x55", 4);  // what every program begins with
  const std::string_view content = component.content();
  if (component.id() == 9 && content.starts_with(kLinuxPkru)) return true;
  return std::all_of(content.begin(), content.end(), [](char c) { return c == 0; });
}

bool is_initial_state(const FieldChange& change, const DiffContext&) {
  if (change.element) return is_initial_component(static_cast<const image::ExtendedComponent&>(*change.element));
  const auto& a = *static_cast<const image::ExtendedState*>(change.a);
  const auto& b = *static_cast<const image::ExtendedState*>(change.b);
  const auto holds = [](const image::ExtendedState& state, unsigned bit) {
    return std::any_of(state.components().begin(), state.components().end(),
                       [&](const auto& c) { return c.id() == bit && !is_initial_component(c); });
  };
  for (unsigned bit = 2; bit < 64; ++bit)  // x87 and SSE are compared by their content
    if (((a.in_use() ^ b.in_use()) >> bit & 1) && (holds(a, bit) || holds(b, bit))) return false;
  return true;
}

// "#123": the inode number of a file that never had a name (O_TMPFILE).
bool is_unnamed(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.size() > 1 && name[0] == '#' && name.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

bool is_unnamed_file(const FieldChange& change, const DiffContext&) {
  const std::string_view a = change.a_bytes, b = change.b_bytes;
  return is_unnamed(a) && is_unnamed(b) && a.substr(0, a.rfind('/')) == b.substr(0, b.rfind('/'));
}

// A deleted file whose name has gone to another file gets a mark from a restore: "library.mini-criu-4711.1". In the
// middle of a path it is that of a deleted folder.
std::string without_mark(std::string path) {
  constexpr std::string_view kMark = ".mini-criu-";
  for (size_t at = path.find(kMark); at != std::string::npos; at = path.find(kMark, at)) {
    const size_t end = path.find_first_not_of("0123456789.", at + kMark.size());
    path.erase(at, end == std::string::npos ? end : end - at);
  }
  return path;
}

bool is_marked(const FieldChange& change, const DiffContext&) {
  return without_mark(std::string(change.a_bytes)) == without_mark(std::string(change.b_bytes));
}

bool is_unnamed_or_marked(const FieldChange& change, const DiffContext& context) {
  return is_unnamed_file(change, context) || is_marked(change, context);
}

bool is_changed_folder(const FieldChange& change, const DiffContext& context) {
  return S_ISDIR(static_cast<const image::RegularFile*>(change.a)->mode()) && is_later(change, context);
}

bool is_expired(const FieldChange& change, const DiffContext& context) {
  const auto* timer = change.element && change.element->GetDescriptor() == image::IntervalTimer::descriptor()
                          ? static_cast<const image::IntervalTimer*>(change.element)
                          : nullptr;
  return timer && change.after == "absent" && timer->interval_us() == 0 &&
         static_cast<uint64_t>(std::max<int64_t>(timer->value_us(), 0)) * 1000 <= context.elapsed_ns;
}

// Expiries of a timer are counted while the program stands still.
bool are_more_ticks(const FieldChange& change, const DiffContext& context) {
  const auto& a = *static_cast<const image::TimerFile*>(change.a);
  const auto& b = *static_cast<const image::TimerFile*>(change.b);
  if (a.remaining_ns() <= 0 || b.ticks() <= a.ticks()) return false;
  const uint64_t more = b.ticks() - a.ticks(), first = static_cast<uint64_t>(a.remaining_ns());
  if (first > context.elapsed_ns) return false;
  return a.interval_ns() > 0 ? more <= (context.elapsed_ns - first) / static_cast<uint64_t>(a.interval_ns()) + 1
                             : more == 1;
}

bool has_ended(const FieldChange& change, const DiffContext& context) {
  return context.timed_out && (change.field != "ThreadCore.registers" || change.path.ends_with(".rax"));
}

bool is_connection_clock(const FieldChange& change, const DiffContext& context) {
  return is_later_timestamp(change, context.elapsed_ns);
}
bool has_arrived(const FieldChange& change, const DiffContext& context) {
  return is_same_stream(change, context.connections);
}
bool was_sent(const FieldChange& change, const DiffContext&) {
  return is_sent(change);
}
bool is_told_window(const FieldChange& change, const DiffContext&) {
  return is_possible_window(change);
}
bool has_ended_connection(const FieldChange& change, const DiffContext& context) {
  return is_arrived_end(change, context.connections);
}

struct Rule {
  std::string_view field;  // "Message.field"; "*" stands for any message or any field
  bool (*holds)(const FieldChange&, const DiffContext&);
  const char* reason;
};

// Short on purpose. Each line stands in docs/diff.md.
constexpr Rule kRules[] = {
    {"Inventory.created_unix_ns", is_later, "when the image was made"},
    {"Inventory.boot_time_ns", is_later, "the clocks when the image was made"},
    {"Inventory.monotonic_ns", is_later, "the clocks when the image was made"},
    {"*.read_unix_ns", is_later, "the clock when it was read"},
    {"TimerFile.clock_ns", is_later, "the clock when it was read"},
    {"TimerFile.ticks", are_more_ticks, "the timer has expired while the program stood still"},
    {"DumpStatistics.*", always, "what the dump itself took and counted"},
    {"TcpSocket.timestamp", is_connection_clock, "the clock of the connection runs on"},
    {"TcpQueue.*", has_arrived, "what was under way between the two ends arrives and is acknowledged"},
    {"TcpSocket.never_sent", was_sent, "what was under way between the two ends arrives and is acknowledged"},
    {"TcpSocket.window", is_told_window, "the two ends have told each other how much room they have"},
    {"TcpSocket.state", has_ended_connection, "an end that was under way arrives and is acknowledged"},
    {"TcpSocket.received_fin", has_ended_connection, "an end that was under way arrives and is acknowledged"},
    {"SysvSegment.attach_time", is_later, "the restored program has attached it anew"},
    {"ProcessCore.ppid", is_parent_outside, "the parent is no part of the image; a restored program has another"},
    {"ProcessCore.stopped", is_stopped_by_restore, "restore --leave-stopped has stopped it"},
    {"ProcessCore.stop_signal", is_stopped_by_restore, "restore --leave-stopped has stopped it"},
    {"ProcessCore.stop_collected", is_stopped_by_restore, "restore --leave-stopped has stopped it"},
    {"SyscallRestart.*", has_ended,
     "a system call has come to its end: its time is over, or what it waits for is there"},
    {"ThreadCore.registers", has_ended,
     "a system call has come to its end: its time is over, or what it waits for is there"},
    {"*.remaining_ns", is_remaining_time, "time runs on while the program stands still"},
    {"IntervalTimer.value_us", is_remaining_time, "time runs on while the program stands still"},
    {"PosixTimer.value_ns", is_remaining_time, "time runs on while the program stands still"},
    {"IntervalTimers.timers", is_expired, "a timer has expired while the program stood still"},
    {"PendingSignals.siginfo", is_from_expired_timer, "a timer has expired while the program stood still"},
    {"ExtendedState.in_use", is_initial_state, "the processor may mark registers in their initial state as unused"},
    {"ExtendedState.components", is_initial_state, "the processor may mark registers in their initial state as unused"},
    {"RegularFile.path", is_unnamed_or_marked, "a file without a name is called by its inode number, or by a mark"},
    {"RegularFile.mtime_ns", is_changed_folder, "a deleted file was in the folder for a moment"},
    {"Ghost.path", is_unnamed_or_marked, "a file without a name is called by its inode number, or by a mark"},
};

bool matches(std::string_view pattern, std::string_view field) {
  if (pattern.starts_with("*")) return field.ends_with(pattern.substr(1));
  if (pattern.ends_with("*")) return field.starts_with(pattern.substr(0, pattern.size() - 1));
  return pattern == field;
}

}  // namespace

uint64_t elapsed_between(const image::Inventory& before, const image::Inventory& after, uint64_t dump_ns) {
  if (after.boot_time_ns() < before.boot_time_ns()) return ~0ULL;  // another boot
  return after.boot_time_ns() - before.boot_time_ns() + dump_ns + kSlackNs;
}

std::vector<ArmedTimer> armed_timers(const image::ProcessCore& core) {
  constexpr int kSignals[] = {SIGALRM, SIGVTALRM, SIGPROF};
  std::vector<ArmedTimer> timers;
  for (const auto& facet : core.facets()) {
    image::IntervalTimers interval;
    image::PosixTimers posix;
    if (facet.UnpackTo(&interval))
      for (const auto& timer : interval.timers())
        if (timer.which() >= 0 && timer.which() < 3)
          timers.push_back(
              {kSignals[timer.which()], static_cast<uint64_t>(std::max<int64_t>(timer.value_us(), 0)) * 1000});
    if (facet.UnpackTo(&posix))
      for (const auto& timer : posix.timers())
        timers.push_back({timer.signal(), static_cast<uint64_t>(std::max<int64_t>(timer.value_ns(), 0))});
  }
  return timers;
}

namespace {

// Somebody has changed the word and stood still before waking those who wait for it: who waits anew need not.
bool is_woken_already(const image::ThreadCore& before, const std::function<std::string(uint64_t, size_t)>& read) {
  const std::string word = read(register_of(before, "rdi"), 4);
  return word.size() == 4 && number_at<uint32_t>(word, 0) != static_cast<uint32_t>(register_of(before, "rdx"));
}

}  // namespace

bool has_timed_out(const image::ThreadCore& before, const image::ThreadCore& after,
                   const std::function<std::string(uint64_t, size_t)>& read, const image::Inventory& then,
                   uint64_t elapsed_ns) {
  constexpr int64_t kRestartBlock = -516;  // ERESTART_RESTARTBLOCK
  const auto& restart = before.restart();
  if (!restart.present() || after.restart().present()) return false;
  if (static_cast<int64_t>(register_of(before, "rax")) != kRestartBlock) return false;
  const bool is_futex = restart.number() == SYS_futex;
  if (is_futex && static_cast<int64_t>(register_of(after, "rax")) == -EAGAIN) return is_woken_already(before, read);
  if (static_cast<int64_t>(register_of(after, "rax")) != (is_futex ? -ETIMEDOUT : 0)) return false;
  if (!is_futex || (register_of(before, "rsi") & FUTEX_CMD_MASK) == FUTEX_WAIT)
    return restart.remaining_ns() <= elapsed_ns;
  const std::string moment = read(register_of(before, "r10"), 16);  // a struct timespec
  const uint64_t now = register_of(before, "rsi") & FUTEX_CLOCK_REALTIME ? then.created_unix_ns() : then.monotonic_ns();
  return number_at<uint64_t>(moment, 0) * 1'000'000'000 + number_at<uint64_t>(moment, 8) <= now + kSlackNs;
}

const char* expected_reason(const FieldChange& change, const DiffContext& context) {
  const auto rule = std::find_if(std::begin(kRules), std::end(kRules), [&](const Rule& r) {
    return matches(r.field, change.field) && change.a && change.b && r.holds(change, context);
  });
  return rule == std::end(kRules) ? nullptr : rule->reason;
}

}  // namespace mcr::images
