// Work on many things, most of whose time is the kernel's, by two threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <future>

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
  if (count >= many) other = std::async(std::launch::async, run);
  run();
  if (other.valid()) other.get();
}

}  // namespace mcr
