#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "core/base/error.h"
#include "core/sys/successor.h"
#include "core/trace/frozen_tree.h"
#include "gpu/suspension.h"
#include "tools/commands.h"
#include "tools/json_object.h"
#include "tools/values.h"

namespace mcr::cli {
namespace {

using gpu::State;

struct CudaProcess {
  HostPid pid;
  State state;
};

std::unique_ptr<gpu::Driver> open_driver() {
  std::string why;
  auto driver = gpu::Driver::open(why);
  if (!driver) throw Error(Fault::refused, why, "this needs NVIDIA's driver, version 570 or newer");
  return driver;
}

std::vector<CudaProcess> find_processes(const gpu::Driver& driver, HostPid root) {
  trace::refuse_unfreezable(root);
  std::vector<CudaProcess> found;
  for (const HostPid pid : trace::tree_of(root))
    if (const auto state = driver.state(pid)) found.push_back({pid, *state});
  return found;
}

std::vector<HostPid> in_state(const std::vector<CudaProcess>& processes, std::initializer_list<State> states) {
  std::vector<HostPid> pids;
  for (const CudaProcess& one : processes)
    if (std::ranges::find(states, one.state) != states.end()) pids.push_back(one.pid);
  return pids;
}

void list(const CommandLine& line, const gpu::Driver& driver) {
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", "gpu list");
  put(object, "driver_version", static_cast<double>(driver.version()));
  JsonList& gpus = put_list(object, "gpus");
  std::string text;
  for (const gpu::Gpu& one : driver.gpus()) {
    JsonObject& entry = *gpus.add_values()->mutable_struct_value();
    put(entry, "uuid", gpu::to_text(one.uuid));
    put(entry, "name", one.name);
    put(entry, "memory_bytes", static_cast<double>(one.memory_bytes));
    put(entry, "compute_capability", fmt::format("{}.{}", one.major, one.minor));
    text += gpu::describe(one) + "\n";
  }
  print(line.settings.flag("json") ? json_text(object) + "\n" : text.empty() ? "This host has no GPU.\n" : text);
}

void tell(const CommandLine& line, const std::string& what, const gpu::Driver& driver,
          const std::vector<CudaProcess>& processes) {
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", "gpu " + what);
  JsonList& entries = put_list(object, "processes");
  std::string text;
  for (const CudaProcess& one : processes) {
    const auto state = driver.state(one.pid);
    const std::string_view name = state ? gpu::state_name(*state) : "gone";
    JsonObject& entry = *entries.add_values()->mutable_struct_value();
    put(entry, "pid", static_cast<double>(one.pid.get()));
    put(entry, "state", std::string(name));
    text += fmt::format("{}: {}\n", trace::describe_process(one.pid), name);
  }
  print(line.settings.flag("json") ? json_text(object) + "\n" : text);
}

// All that run, or none.
void halt(const gpu::Driver& driver, HostPid root, const std::vector<CudaProcess>& processes, bool saves,
          std::chrono::milliseconds timeout, Damage& damage) {
  const sys::Successor successor({"gpu", "resume", "-t", std::to_string(root.get())});  // should we be killed half-way
  gpu::Suspension suspension(driver, damage);
  sys::Deadline deadline;
  if (timeout.count() > 0) deadline = sys::Clock::now() + timeout;
  auto pids = in_state(processes, {State::running, State::failed});
  if (saves)  // one that somebody else has locked is refused
    for (const HostPid pid : in_state(processes, {State::locked})) pids.push_back(pid);
  suspension.lock(pids, deadline);
  if (saves) suspension.checkpoint();
  suspension.abandon();
}

// A call of somebody who was killed over it may still be under way: then the state is another when it is asked again.
void go_on(const gpu::Driver& driver, HostPid root) {
  const auto end = sys::Clock::now() + std::chrono::seconds(5);
  for (;;) try {
      const auto processes = find_processes(driver, root);
      const auto halted = in_state(processes, {State::checkpointed, State::locked});
      if (halted.empty()) return;
      gpu::each_at_once(halted, [&](HostPid pid) {
        if (driver.state(pid) == State::checkpointed) driver.restore(pid, {});
        driver.unlock(pid);
      });
    } catch (const Error&) {
      if (sys::Clock::now() > end) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

void unlock(const gpu::Driver& driver, const std::vector<CudaProcess>& processes) {
  if (const auto suspended = in_state(processes, {State::checkpointed}); !suspended.empty())
    throw Error(Fault::refused, fmt::format("process {} is suspended, not only locked", suspended.front()),
                "mini-criu gpu resume brings its memory back to the GPU");
  gpu::each_at_once(in_state(processes, {State::locked}), [&](HostPid pid) { driver.unlock(pid); });
}

}  // namespace

int run_gpu(const CommandLine& line, Situation& situation) {
  const std::string verb = line.operands.size() == 1 ? line.operands.front() : "";
  const bool known =
      verb == "list" || verb == "state" || verb == "lock" || verb == "suspend" || verb == "resume" || verb == "unlock";
  if (!known)
    usage("say what is to be done with the GPU", "mini-criu gpu list, or state, lock, suspend, resume, unlock -t PID");
  const auto tree = line.settings.value("tree");
  if (verb != "list" && !tree) usage(fmt::format("gpu {} needs the pid of a program", verb), "give -t PID");
  auto timeout = std::chrono::milliseconds(10'000);
  if (const auto seconds = line.settings.value("timeout")) timeout = parse_seconds("timeout", *seconds);
  const auto driver = open_driver();
  if (verb == "list") return list(line, *driver), 0;
  const HostPid root(parse_pid("tree", *tree));
  const Step step("pid {}", root);
  if (verb == "resume") go_on(*driver, root);
  const std::vector<CudaProcess> processes = find_processes(*driver, root);
  if (processes.empty()) throw Error(Fault::refused, "no process of this tree uses CUDA");
  if (verb == "lock" || verb == "suspend") halt(*driver, root, processes, verb == "suspend", timeout, situation.damage);
  if (verb == "unlock") unlock(*driver, processes);
  situation.concluded = true;
  tell(line, verb, *driver, processes);
  return 0;
}

}  // namespace mcr::cli
