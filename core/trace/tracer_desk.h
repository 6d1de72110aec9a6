// Where other threads of the engine ask the thread that traces for what only that one can do. It looks here whenever
// it waits itself, and until the others are done.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/trace/tracee.h"

namespace mcr::trace {

class TracerDesk {
 public:
  // Made by the thread that traces. `helpers`: how many others will call leave().
  explicit TracerDesk(size_t helpers) : tracer_(std::this_thread::get_id()), helpers_(helpers) {}
  // Tracee::keep_running(), by whatever thread.
  bool keep_running(Tracee& tracee, bool& met);
  void leave();              // by another thread, as its last call here
  void serve_until_alone();  // by the thread that traces

 private:
  struct Request {
    Tracee& tracee;
    bool& met;
    bool runs = false, done = false;
    std::exception_ptr error{};
  };
  void serve(std::unique_lock<std::mutex>& held);

  const std::thread::id tracer_;
  std::mutex lock_;
  std::condition_variable changed_;
  size_t helpers_;
  std::vector<Request*> waiting_;
};

}  // namespace mcr::trace
