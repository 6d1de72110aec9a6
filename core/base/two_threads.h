// Work on many things, most of whose time is the kernel's, by two threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <future>
#include <list>
#include <vector>

#include "core/base/aside.h"
#include "core/base/error.h"

namespace mcr {

// Calls work(0) to work(count - 1), each once and in no order: with fewer than `many` by the caller alone, else by two
// threads at once. `work` must not throw: what it has to say it leaves with its number.
template <typename Work>
void by_two_threads(size_t count, size_t many, const Work& work) {
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t i; (i = next.fetch_add(1)) < count;) work(i);
  };
  std::future<void> other;
  if (count >= many) other = begin_aside(run);
  run();
  if (other.valid()) other.get();
}

// The steps that are open in one thread, opened in another one that goes on for it.
class ContinuedTrail {
 public:
  explicit ContinuedTrail(const std::vector<std::string>& trail) {
    for (const std::string& step : trail) steps_.emplace_back(step);
  }

 private:
  std::list<Step> steps_;
};

// The same with work that may throw: nothing new is begun then, and what the first of those that failed has thrown is
// thrown here. Its trail is as long as if the caller had done the work.
template <typename Work>
void try_by_two_threads(size_t count, size_t many, const Work& work) {
  if (count < many) {
    for (size_t i = 0; i < count; ++i) work(i);
    return;
  }
  std::vector<std::exception_ptr> errors(count);
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t i; (i = next.fetch_add(1)) < count;) try {
        work(i);
      } catch (...) {
        errors[i] = std::current_exception();
        next = count;
      }
  };
  std::future<void> other = begin_aside([&, trail = Step::trail()] {
    const ContinuedTrail steps(trail);
    run();
  });
  run();
  other.get();
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace mcr
