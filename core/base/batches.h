// Work on many things that must be listed first, by two threads: the one that lists, and another that begins with the
// first ones meanwhile.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <future>
#include <mutex>
#include <utility>
#include <vector>

#include "core/base/aside.h"
#include "core/base/two_threads.h"

namespace mcr {

// The things so far listed, of which each thread takes the next batch.
template <typename Item, typename Result>
class BatchQueue {
 public:
  struct Batch {
    size_t first = 0;  // of all
    std::vector<Item> items;
    Result result{};
  };
  void add(Batch batch) {
    const std::lock_guard lock(mutex_);
    batches_.push_back(std::move(batch));
    changed_.notify_one();
  }
  // Nothing more is added; with `give_up` nothing more is begun either.
  void close(bool give_up) {
    const std::lock_guard lock(mutex_);
    is_complete_ = true;
    if (give_up) next_ = batches_.size();
    changed_.notify_all();
  }
  Batch* take() {  // waits for one; nullptr: that was all
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return next_ < batches_.size() || is_complete_; });
    return next_ < batches_.size() ? &batches_[next_++] : nullptr;
  }
  std::deque<Batch>& all() { return batches_; }  // when both threads are done

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> batches_;  // whose elements stay where they are
  size_t next_ = 0;
  bool is_complete_ = false;
};

// list(take) calls take(item) for each; work(first, items) gets stretches of at most `at_once` of them and the number
// of the first. The results in order of the list. With by_two another thread works too, as soon as a batch is full;
// what one of the two throws is thrown here.
template <typename Item, typename Result, typename List, typename Work>
std::vector<Result> by_batches(size_t at_once, bool by_two, const List& list, const Work& work) {
  using Queue = BatchQueue<Item, Result>;
  Queue queue;
  const auto run = [&] {
    try {
      while (auto* batch = queue.take()) batch->result = work(batch->first, batch->items);
    } catch (...) {
      queue.close(true);
      throw;
    }
  };
  std::future<void> other;
  typename Queue::Batch filling;
  const auto hand_over = [&] {
    const size_t next = filling.first + filling.items.size();
    queue.add(std::exchange(filling, {next, {}, {}}));
  };
  try {
    list([&](Item item) {
      filling.items.push_back(std::move(item));
      if (filling.items.size() < at_once) return;
      hand_over();
      if (by_two && !other.valid())
        other = begin_aside([&run, trail = Step::trail()] {
          const ContinuedTrail steps(trail);
          run();
        });
    });
    if (!filling.items.empty()) hand_over();
    queue.close(false);
    run();
  } catch (...) {
    queue.close(true);
    if (other.valid()) other.wait();
    throw;
  }
  if (other.valid()) other.get();
  std::vector<Result> results;
  for (auto& batch : queue.all()) results.push_back(std::move(batch.result));
  return results;
}

}  // namespace mcr
