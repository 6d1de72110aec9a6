// Work that goes on beside ours. Any thread.
#pragma once

#include <chrono>
#include <future>
#include <system_error>

namespace mcr {

// std::async by a thread of its own or, where none can be made (ulimit -u, pids.max), by whoever asks for the result:
// then nothing has begun before that.
template <typename... Parts>
auto begin_aside(const Parts&... parts) {
  try {
    return std::async(std::launch::async, parts...);
  } catch (const std::system_error&) {
    return std::async(std::launch::deferred, parts...);
  }
}

template <typename Result>
bool has_thread(const std::future<Result>& future) {
  return future.valid() && future.wait_for(std::chrono::seconds(0)) != std::future_status::deferred;
}

}  // namespace mcr
