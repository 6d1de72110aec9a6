#include "gpu/suspension.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/two_threads.h"
#include "core/sys/file.h"

namespace mcr::gpu {
namespace {

constexpr size_t kThreads = 8;

std::chrono::milliseconds left_until(const sys::Deadline& deadline) {
  if (!deadline) return std::chrono::milliseconds(0);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - sys::Clock::now());
  return std::max(left, std::chrono::milliseconds(1));
}

bool is_gone(HostPid pid) {
  return !sys::try_stat(fmt::format("/proc/{}/exe", pid));
}

void refuse_other_than_running(const Driver& driver, HostPid pid) {
  const auto state = driver.state(pid);
  if (!state) throw Error(Fault::refused, "it does not use CUDA any more");
  if (*state == State::running) return;
  if (*state == State::failed)
    throw Error(Fault::refused, "its GPU state is lost (the driver calls it failed)", "end it and start it anew");
  throw Error(Fault::refused, fmt::format("its GPU work is {} already", state_name(*state)),
              fmt::format("mini-criu gpu {} -t {} lets it go on", *state == State::locked ? "unlock" : "resume", pid));
}

}  // namespace

void each_at_once(const std::vector<HostPid>& pids, const std::function<void(HostPid)>& act) {
  std::vector<std::exception_ptr> errors(pids.size());
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t i; (i = next.fetch_add(1)) < pids.size();) try {
        const Step step("process {}", pids[i]);
        act(pids[i]);
      } catch (...) {
        errors[i] = std::current_exception();
      }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 1; i < std::min(pids.size(), kThreads); ++i)
      threads.emplace_back([&, trail = Step::trail()] {
        const ContinuedTrail steps(trail);
        run();
      });
    run();
  }
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

void Suspension::lock(const std::vector<HostPid>& pids, const sys::Deadline& deadline) {
  pids_ = pids;
  for (const HostPid pid : pids) {
    const Step step("process {}", pid);
    refuse_other_than_running(driver_, pid);
    held_.push_back(pid);  // whatever a failed call has left it in
    if (!driver_.lock(pid, left_until(deadline)))
      throw Error(Fault::timeout, "its GPU work did not come to a halt in time", "give more time with --timeout");
  }
}

void Suspension::checkpoint() {
  each_at_once(held_, [&](HostPid pid) { driver_.checkpoint(pid); });
}

// Whatever a failed call has left it in.
void Suspension::bring_back(HostPid pid) const {
  auto state = driver_.state(pid);
  if (state == State::checkpointed) {
    driver_.restore(pid, {});
    state = State::locked;
  }
  if (state == State::locked) driver_.unlock(pid);
  if (state == State::failed) throw Error(Fault::system, "its GPU state is lost (the driver calls it failed)");
}

void Suspension::resume() {
  const Step step("GPU");
  std::vector<HostPid> all = held_;
  std::ranges::reverse(all);
  each_at_once(all, [&](HostPid pid) {
    try {
      bring_back(pid);
    } catch (const Error&) {
      if (!is_gone(pid)) throw;  // it may end at any time
    }
  });
  held_.clear();
}

Suspension::~Suspension() {
  for (; !held_.empty(); held_.pop_back()) {
    const HostPid pid = held_.back();
    try {
      bring_back(pid);
    } catch (const std::exception& error) {
      if (is_gone(pid)) continue;
      damage_.record(fmt::format("process {} is without its GPU: {}", pid, error.what()));
      log::error("gpu", "process {} could not be given its GPU back: {}", pid, error.what());
    }
  }
}

}  // namespace mcr::gpu
