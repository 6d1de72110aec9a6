#include "core/engine/origin.h"

#include <algorithm>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::engine {
namespace {

constexpr char kFile[] = "origin.img";
constexpr auto kTurn = std::chrono::milliseconds(5);

std::string boot_id() {
  std::string text = sys::try_read_text("/proc/sys/kernel/random/boot_id").value_or("");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

uint64_t own_pid_namespace() {
  const auto status = sys::try_stat("/proc/self/ns/pid");
  return status ? status->st_ino : 0;
}

bool is_there(const image::OriginProcess& process) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", process.pid()));
  if (!text) return false;
  try {
    return procfs::parse_stat(*text).start_time == process.start_time();
  } catch (const Error&) {  // it ends right now
    return true;
  }
}

}  // namespace

image::Origin describe_origin(const std::vector<HostPid>& pids, bool goes_on) {
  image::Origin origin;
  origin.set_boot_id(boot_id());
  origin.set_pid_namespace(own_pid_namespace());
  origin.set_goes_on(goes_on);
  for (const HostPid pid : pids) {
    auto* process = origin.add_processes();
    process->set_pid(pid.get());
    process->set_start_time(procfs::parse_stat(sys::read_text(fmt::format("/proc/{}/stat", pid))).start_time);
  }
  return origin;
}

image::Origin read_origin(const images::ImageReader& reader) {
  if (!reader.has(kFile)) return {};
  auto records = reader.records(kFile);
  auto origin = records.read<image::Origin>();
  for (const auto& process : origin.processes())
    if (process.pid() <= 0) throw Error(Fault::image, fmt::format("{}: a process {}", kFile, process.pid()));
  if (records.next_type()) throw Error(Fault::image, fmt::format("{}: more than one record", kFile));
  return origin;
}

bool wait_for_end(const image::Origin& origin, std::chrono::milliseconds most) {
  if (origin.goes_on() || origin.boot_id().empty() || origin.boot_id() != boot_id() ||
      origin.pid_namespace() != own_pid_namespace())
    return true;
  const auto deadline = std::chrono::steady_clock::now() + most;
  bool told = false;
  for (const auto& process : origin.processes())
    for (; is_there(process); std::this_thread::sleep_for(kTurn)) {
      if (!std::exchange(told, true))
        log::info("restore", "Waiting for the end of the saved program, pid {} is still there", process.pid());
      if (std::chrono::steady_clock::now() < deadline) continue;
      log::warning("restore", "The saved program is still there after {} s: pid {}", most.count() / 1000,
                   process.pid());
      return false;
    }
  return true;
}

}  // namespace mcr::engine
