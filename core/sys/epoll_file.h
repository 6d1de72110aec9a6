// epoll(7) from outside of the program that uses it. Throws Error unless said otherwise. Any thread, but add_watch()
// gives a number of this process to another file for a moment.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"

namespace mcr::sys {

struct EpollEvent {
  uint32_t events = 0;  // EPOLL*
  uint64_t data = 0;
};

UniqueFd make_epoll();
// epoll_ctl(EPOLL_CTL_ADD) as if `target` had this number: an epoll knows a file by both.
void add_watch(int epoll, int target, int number, const EpollEvent& event);
void change_watch(int epoll, int target, int number, const EpollEvent& event);  // EPOLL_CTL_MOD
// Gives what is ready now, at most so many, and what that means to an epoll: an edge has been told, a one-shot is off.
std::vector<EpollEvent> take_events(int epoll, int most);

// Whether descriptor `fd` of `pid` is what `epoll` of `epoll_pid` watches under the number `watched`; of several with
// that number the `nth`, in the order of fdinfo (kcmp(2) KCMP_EPOLL_TFD, 4.13). nullopt: no such descriptor or watch.
struct EpollSlot {
  HostPid pid;
  int epoll = -1, watched = -1;
  uint32_t nth = 0;
};
std::optional<bool> is_watched(HostPid pid, int fd, const EpollSlot& slot);

struct BusyPolling {  // EPIOCGPARAMS, 6.9
  uint32_t usecs = 0;
  uint16_t budget = 0;
  bool is_preferred = false;
};
BusyPolling busy_polling_of(int epoll);  // all zero where the kernel has none
void set_busy_polling(int epoll, const BusyPolling& polling);

}  // namespace mcr::sys
