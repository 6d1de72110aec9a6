#include "core/trace/tracer_desk.h"

#include <utility>

namespace mcr::trace {

bool TracerDesk::keep_running(Tracee& tracee, bool& met) {
  std::unique_lock held(lock_);
  if (std::this_thread::get_id() == tracer_) {
    serve(held);
    held.unlock();
    return tracee.keep_running(met);
  }
  Request request{tracee, met};
  waiting_.push_back(&request);
  changed_.notify_all();
  changed_.wait(held, [&] { return request.done; });
  if (request.error) std::rethrow_exception(request.error);
  return request.runs;
}

void TracerDesk::leave() {
  const std::lock_guard held(lock_);
  --helpers_;
  changed_.notify_all();
}

void TracerDesk::serve_until_alone() {
  std::unique_lock held(lock_);
  for (;;) {
    changed_.wait(held, [&] { return helpers_ == 0 || !waiting_.empty(); });
    serve(held);
    if (helpers_ == 0) return;
  }
}

void TracerDesk::serve(std::unique_lock<std::mutex>& held) {
  for (Request* request : std::exchange(waiting_, {})) {
    held.unlock();
    try {
      request->runs = request->tracee.keep_running(request->met);
    } catch (...) {
      request->error = std::current_exception();
    }
    held.lock();
    request->done = true;
  }
  changed_.notify_all();
}

}  // namespace mcr::trace
