#include "core/engine/late_memory.h"

#include "core/base/aside.h"
#include "core/base/error.h"

namespace mcr::engine {
namespace {

constexpr size_t kMostWaiting = 16;  // each keeps a descriptor open

}  // namespace

LateMemory::~LateMemory() {
  {
    const std::lock_guard lock(lock_);
    is_over_ = true;
    jobs_.clear();
  }
  changed_.notify_all();
}

void LateMemory::add(std::function<void()> job) {
  std::unique_lock lock(lock_);
  if (!thread_.valid()) thread_ = begin_aside([this] { run(); });
  if (!has_thread(thread_)) return job();
  changed_.wait(lock, [&] { return problem_ || jobs_.size() < kMostWaiting; });
  if (problem_) return;  // finish() tells
  jobs_.push_back({Step::trail(), std::move(job)});
  lock.unlock();
  changed_.notify_all();
}

void LateMemory::finish() {
  std::unique_lock lock(lock_);
  changed_.wait(lock, [&] { return problem_ || (jobs_.empty() && !is_busy_); });
  if (problem_) std::rethrow_exception(problem_);
}

void LateMemory::run() {
  std::unique_lock lock(lock_);
  for (;;) {
    changed_.wait(lock, [&] { return is_over_ || !jobs_.empty(); });
    if (is_over_) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    is_busy_ = true;
    lock.unlock();
    std::exception_ptr problem;
    try {
      std::deque<Step> steps;
      for (const std::string& words : job.trail) steps.emplace_back(words);
      job.work();
    } catch (const std::exception&) {
      problem = std::current_exception();
    }
    lock.lock();
    is_busy_ = false;
    if (problem) problem_ = problem, jobs_.clear();
    changed_.notify_all();
  }
}

}  // namespace mcr::engine
