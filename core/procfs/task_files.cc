// The small files of one task: timers, limits, syscall, sched.
#include <sys/resource.h>

#include <array>
#include <csignal>

#include "core/procfs/scan.h"
#include "core/procfs/status.h"

namespace mcr::procfs {
namespace {

constexpr std::string_view kTimers = "timers";
constexpr std::string_view kLimits = "limits";
constexpr std::string_view kSyscall = "syscall";
constexpr std::string_view kSched = "sched";

// "signal: 34/0000000000001234"
void read_timer_signal(Cursor cursor, Timer& timer) {
  timer.signal = cursor.expect("signal:").skip_blanks().number<int>();
  cursor.expect("/").accept("0x");
  timer.value = cursor.last_number<uint64_t>(16);
}

// "notify: signal/tid.4585": SIGEV_THREAD_ID is a bit beside the method, and shows as "tid." only.
void read_timer_notify(Cursor cursor, Timer& timer) {
  cursor.expect("notify:").skip_blanks();
  if (cursor.accept("signal/"))
    timer.notify = SIGEV_SIGNAL;
  else if (cursor.accept("none/"))
    timer.notify = SIGEV_NONE;
  else if (cursor.accept("thread/"))
    timer.notify = SIGEV_THREAD;
  else
    cursor.fail();
  timer.target_is_thread = cursor.accept("tid.");
  if (timer.target_is_thread)
    timer.notify |= SIGEV_THREAD_ID;
  else
    cursor.expect("pid.");
  timer.target = cursor.last_number<pid_t>();
}

// The words of fs/proc/base.c, lnames[].
struct LimitName {
  std::string_view text;
  int resource;
};
constexpr auto kLimitNames = std::to_array<LimitName>({
    {"Max cpu time", RLIMIT_CPU},
    {"Max file size", RLIMIT_FSIZE},
    {"Max data size", RLIMIT_DATA},
    {"Max stack size", RLIMIT_STACK},
    {"Max core file size", RLIMIT_CORE},
    {"Max resident set", RLIMIT_RSS},
    {"Max processes", RLIMIT_NPROC},
    {"Max open files", RLIMIT_NOFILE},
    {"Max locked memory", RLIMIT_MEMLOCK},
    {"Max address space", RLIMIT_AS},
    {"Max file locks", RLIMIT_LOCKS},
    {"Max pending signals", RLIMIT_SIGPENDING},
    {"Max msgqueue size", RLIMIT_MSGQUEUE},
    {"Max nice priority", RLIMIT_NICE},
    {"Max realtime priority", RLIMIT_RTPRIO},
    {"Max realtime timeout", RLIMIT_RTTIME},
});
static_assert(kLimitNames.size() == RLIM_NLIMITS);

uint64_t limit_value(Cursor& cursor) {
  cursor.skip_blanks();
  return cursor.accept("unlimited") ? uint64_t{RLIM_INFINITY} : cursor.number<uint64_t>();
}

const LimitName& limit_name(Cursor& cursor) {
  for (const LimitName& name : kLimitNames)
    if (cursor.accept(name.text)) return name;
  cursor.fail();
}

}  // namespace

std::vector<Timer> parse_timers(std::string_view text) {
  std::vector<Timer> timers;
  std::string_view line;
  Lines lines(text);
  const auto next_line = [&] {
    if (!lines.next(line)) throw_unreadable(kTimers, text);
    return Cursor(kTimers, line);
  };
  while (lines.next(line)) {
    Timer& timer = timers.emplace_back();
    Cursor id(kTimers, line);
    id.expect("ID:");
    timer.id = id.last_number<int>();
    read_timer_signal(next_line(), timer);
    read_timer_notify(next_line(), timer);
    Cursor clock = next_line();
    clock.expect("ClockID:");
    timer.clock = clock.last_number<int>();
  }
  return timers;
}

std::vector<Limit> parse_limits(std::string_view text) {
  std::vector<Limit> limits(RLIM_NLIMITS);
  std::array<bool, RLIM_NLIMITS> seen{};
  std::string_view line;
  for (Lines lines(text); lines.next(line);) {
    Cursor cursor(kLimits, line);
    if (line.starts_with("Limit ")) continue;  // the headings
    const LimitName& name = limit_name(cursor);
    Limit& limit = limits[static_cast<size_t>(name.resource)];
    limit.resource = name.resource;
    limit.soft = limit_value(cursor);
    if (cursor.at_end() || !is_blank(cursor.rest().front())) cursor.fail();
    limit.hard = limit_value(cursor);
    cursor.word();  // the unit
    cursor.finish();
    seen[static_cast<size_t>(name.resource)] = true;
  }
  for (const LimitName& name : kLimitNames)
    if (!seen[static_cast<size_t>(name.resource)]) throw_missing(kLimits, name.text);
  return limits;
}

// proc_pid_syscall() of fs/proc/base.c: "running", or "-1 SP PC", or the number, six arguments, SP and PC. A zombie
// shows
// "-1 0x0 0x0".
std::optional<SyscallState> parse_syscall(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text == "running") return std::nullopt;
  Cursor cursor(kSyscall, text);
  const auto hexadecimal = [&] { return cursor.expect(" ").expect("0x").number<uint64_t>(16); };
  SyscallState state;
  state.number = cursor.number<int64_t>();
  if (state.number != -1)
    for (uint64_t& argument : state.args) argument = hexadecimal();
  state.stack_pointer = hexadecimal();
  state.program_counter = hexadecimal();
  cursor.finish();
  return state;
}

// The value is printed in milliseconds with exactly six decimals (SPLIT_NS of kernel/sched/debug.c). Without
// CONFIG_SCHED_DEBUG (before 6.15) there is no such file; a task of another scheduling class may lack the line.
std::optional<uint64_t> parse_exec_start_ns(std::string_view text) {
  constexpr uint64_t kNsPerMs = 1'000'000;
  std::string_view line;
  for (Lines lines(text); lines.next(line);) {
    Cursor cursor(kSched, line);
    if (!cursor.accept("se.exec_start")) continue;
    const auto ms = cursor.skip_blanks().expect(":").skip_blanks().number<uint64_t>();
    const std::string_view decimals = cursor.expect(".").rest().substr(0, 6);
    const auto ns = cursor.last_number<uint64_t>();
    if (decimals.size() != 6 || ns >= kNsPerMs || ms > UINT64_MAX / kNsPerMs - 1) cursor.fail();
    return ms * kNsPerMs + ns;
  }
  return std::nullopt;
}

}  // namespace mcr::procfs
