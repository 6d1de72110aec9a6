// Waiting for what mostly comes within microseconds, where to sleep and be woken takes longer than that. Private to
// core/sys. Any thread.
#pragma once

#include <algorithm>

#include "core/sys/process.h"

namespace mcr::sys {

// Asks busily for a short while. Who is waited for may have no processor but ours, and then that only keeps it waiting:
// after each time that was in vain the next ones are left out, twice as many as before.
class BusyWait {
 public:
  // `poll` returns something that is true when it has come.
  template <typename Poll>
  auto until(const Poll& poll) -> decltype(poll()) {
    auto result = poll();
    if (result || left_out_ > 0) {
      left_out_ -= std::min(left_out_, 1);
      return result;
    }
    const auto give_up = Clock::now() + kShort;
    while (!(result = poll()) && Clock::now() < give_up) continue;
    in_vain_ = result ? 0 : std::min(in_vain_ + 1, 8);
    left_out_ = result ? 0 : 1 << in_vain_;
    return result;
  }

 private:
  static constexpr std::chrono::microseconds kShort{40};
  int in_vain_ = 0, left_out_ = 0;
};

}  // namespace mcr::sys
