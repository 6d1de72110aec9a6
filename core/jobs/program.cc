#include "core/jobs/program.h"

#include <time.h>

#include <algorithm>
#include <map>

#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::jobs {
namespace {

std::optional<procfs::Stat> stat_of(HostPid pid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", pid));
  if (!text || text->empty()) return std::nullopt;
  return procfs::parse_stat(*text);
}

bool has_ended(const procfs::Stat& stat) {
  return stat.state == 'Z' || stat.state == 'X';
}

bool has_line(const std::string& zero_separated, const std::string& line) {
  const std::string text = '\0' + zero_separated;
  return text.find('\0' + line + '\0') != std::string::npos;
}

}  // namespace

std::string boot_id() {
  std::string id = sys::read_text("/proc/sys/kernel/random/boot_id");
  while (id.ends_with('\n')) id.pop_back();
  return id;
}

std::optional<uint64_t> start_time_of(HostPid pid) {
  const auto stat = stat_of(pid);
  if (!stat) return std::nullopt;
  return stat->start_time;
}

void note_program(job::State& state, HostPid pid) {
  state.set_pid(pid.get());
  state.set_start_time(start_time_of(pid).value_or(0));
  state.set_boot_id(boot_id());
  state.set_host(sys::host_name());
}

void forget_program(job::State& state) {
  state.clear_pid();
  state.clear_start_time();
}

std::optional<UniqueFd> open_program(const job::State& state) {
  if (state.pid() <= 0 || state.boot_id() != boot_id()) return std::nullopt;
  const HostPid pid(state.pid());
  auto pidfd = sys::try_open_pidfd(pid);
  if (!pidfd) return std::nullopt;
  // Looked at when the pidfd holds whoever has the number: it is that process or another, and stays it.
  const auto stat = stat_of(pid);
  if (!stat || stat->start_time != state.start_time() || has_ended(*stat)) return std::nullopt;
  if (sys::poll_now(pidfd->get(), 1) != 0) return std::nullopt;  // POLLIN: it has ended
  return pidfd;
}

std::optional<int> zombie_status(const job::State& state) {
  const auto stat = stat_of(HostPid(state.pid()));
  if (!stat || stat->start_time != state.start_time() || stat->state != 'Z') return std::nullopt;
  return stat->exit_code;
}

bool has_variable(HostPid pid, const std::string& beginning) {
  const auto environment = sys::try_read_text(fmt::format("/proc/{}/environ", pid));
  return environment && ('\0' + *environment).find('\0' + beginning) != std::string::npos;
}

std::string mark_of(const std::string& token) {
  return "MINI_CRIU_TOKEN=" + token;
}

std::vector<HostPid> marked_processes(const std::string& token) {
  std::map<pid_t, pid_t> parents;  // of marked processes
  const auto own_program = sys::try_read_link("/proc/self/exe");
  for (const std::string& name : sys::list_directory("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto environment = sys::try_read_text("/proc/" + name + "/environ");
    if (!environment || !has_line(*environment, mark_of(token))) continue;
    if (sys::try_read_link("/proc/" + name + "/exe") == own_program) continue;  // a supervisor that the program started
    const auto stat = stat_of(HostPid(std::stoi(name)));
    if (stat && !has_ended(*stat)) parents[stat->pid] = stat->ppid;
  }
  std::vector<HostPid> roots;
  for (const auto& [pid, parent] : parents)
    if (!parents.contains(parent)) roots.push_back(HostPid(pid));
  return roots;
}

std::optional<HostPid> find_marked(const std::string& token, uint64_t not_before) {
  std::vector<HostPid> roots = marked_processes(token);
  std::erase_if(roots, [&](HostPid pid) { return start_time_of(pid).value_or(0) < not_before; });
  if (roots.size() != 1) return std::nullopt;
  return roots.front();
}

// Clock ticks, a hundred a second whatever the kernel counts with (USER_HZ).
uint64_t start_time_now() {
  return static_cast<uint64_t>(sys::clock_ns(CLOCK_BOOTTIME)) / 10'000'000;
}

}  // namespace mcr::jobs
