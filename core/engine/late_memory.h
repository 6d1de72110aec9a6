// The memory of small programs, stored by a thread of the engine while the next process is infected and asked. What few
// pages a program has are copied sooner than a descriptor is lent to it. Needs no tracer and nothing in the program.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <vector>

namespace mcr::engine {

// One job after the other, in the order in which they came. What one throws is thrown by finish(), those after it are
// left out. The destructor waits for the job that runs, and leaves out the others.
class LateMemory {
 public:
  ~LateMemory();
  void add(std::function<void()> job);  // with the steps that are open now; waits when too many are waiting
  void finish();                        // until all are done

 private:
  struct Job {
    std::vector<std::string> trail;
    std::function<void()> work;
  };
  void run();

  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool is_busy_ = false, is_over_ = false;
  std::exception_ptr problem_;
  std::future<void> thread_;
};

}  // namespace mcr::engine
