#include "core/sys/epoll_file.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

struct EpollParams {  // struct epoll_params, 6.9
  uint32_t busy_poll_usecs;
  uint16_t busy_poll_budget;
  uint8_t prefer_busy_poll, pad;
};
constexpr unsigned long kSetParams = _IOW(0x8A, 0x01, EpollParams), kGetParams = _IOR(0x8A, 0x02, EpollParams);

// A number of this process that leads to another file while this lives.
class BorrowedNumber {
 public:
  BorrowedNumber(int number, int target) : number_(number) {
    flags_ = ::fcntl(number, F_GETFD);
    if (flags_ >= 0) before_ = UniqueFd(check(::fcntl(number, F_DUPFD_CLOEXEC, 0), "fcntl(F_DUPFD_CLOEXEC)"));
    check(::dup3(target, number, O_CLOEXEC), fmt::format("dup3({}, {})", target, number));
  }
  ~BorrowedNumber() {
    if (!before_.valid())
      ::close(number_);
    else
      ::dup3(before_.get(), number_, (flags_ & FD_CLOEXEC) ? O_CLOEXEC : 0);
  }
  BorrowedNumber(const BorrowedNumber&) = delete;
  BorrowedNumber& operator=(const BorrowedNumber&) = delete;
  // Where the file that had the number is meanwhile; -1: none had it.
  int before() const { return before_.valid() ? before_.get() : -1; }

 private:
  int number_, flags_ = 0;
  UniqueFd before_;
};

void control(int operation, int epoll, int target, int number, const EpollEvent& event) {
  epoll_event changed{};
  changed.events = event.events;
  changed.data.u64 = event.data;
  const std::string what =
      fmt::format("epoll_ctl({}, {})", operation == EPOLL_CTL_ADD ? "EPOLL_CTL_ADD" : "EPOLL_CTL_MOD", number);
  if (target == number) {
    check(::epoll_ctl(epoll, operation, number, &changed), what);
    return;
  }
  const BorrowedNumber borrowed(number, target);
  check(::epoll_ctl(epoll == number ? borrowed.before() : epoll, operation, number, &changed), what);
}

}  // namespace

UniqueFd make_epoll() {
  return UniqueFd(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
}

void add_watch(int epoll, int target, int number, const EpollEvent& event) {
  control(EPOLL_CTL_ADD, epoll, target, number, event);
}
void change_watch(int epoll, int target, int number, const EpollEvent& event) {
  control(EPOLL_CTL_MOD, epoll, target, number, event);
}

std::vector<EpollEvent> take_events(int epoll, int most) {
  std::vector<epoll_event> events(static_cast<size_t>(most));
  const int got = check(::epoll_wait(epoll, events.data(), most, 0), "epoll_wait");
  std::vector<EpollEvent> taken;
  for (int i = 0; i < got; ++i)
    taken.push_back({events[static_cast<size_t>(i)].events, events[static_cast<size_t>(i)].data.u64});
  return taken;
}

std::optional<bool> is_watched(HostPid pid, int fd, const EpollSlot& slot) {
  kcmp_epoll_slot where{static_cast<uint32_t>(slot.epoll), static_cast<uint32_t>(slot.watched), slot.nth};
  const long order = ::syscall(SYS_kcmp, pid.get(), slot.pid.get(), KCMP_EPOLL_TFD, fd, &where);
  if (order >= 0) return order == 0;
  if (errno == EBADF || errno == ENOENT || errno == ESRCH) return std::nullopt;
  throw_errno("kcmp(KCMP_EPOLL_TFD)");
}

BusyPolling busy_polling_of(int epoll) {
  EpollParams params{};
  if (::ioctl(epoll, kGetParams, &params) != 0) return {};
  return {params.busy_poll_usecs, params.busy_poll_budget, params.prefer_busy_poll != 0};
}
void set_busy_polling(int epoll, const BusyPolling& polling) {
  const EpollParams params{polling.usecs, polling.budget, static_cast<uint8_t>(polling.is_preferred), 0};
  check(::ioctl(epoll, kSetParams, &params), "ioctl(EPIOCSPARAMS)");
}

}  // namespace mcr::sys
