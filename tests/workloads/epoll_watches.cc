// epoll(7): levels, edges, one-shots told and not, exclusive ones, watches of numbers that were closed or lead
// elsewhere now, several of one number, an epoll in an epoll, a timer and a signalfd.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include <map>

#include "contract.h"

using namespace workload;

namespace {

void add(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl %d %d: %s", epoll, fd, strerror(errno));
}

void change(int epoll, int operation, int fd, uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  if (epoll_ctl(epoll, operation, fd, &event) != 0) fail("epoll_ctl %d %d: %s", epoll, fd, strerror(errno));
}

// What is ready now, by its data.
std::map<uint64_t, uint32_t> take(int epoll) {
  epoll_event events[32];
  const int got = epoll_wait(epoll, events, 32, 0);
  MUST(got >= 0);
  std::map<uint64_t, uint32_t> ready;
  for (int i = 0; i < got; ++i) ready[events[i].data.u64] = events[i].events;
  return ready;
}

using Ready = std::map<uint64_t, uint32_t>;
void expect(int epoll, const Ready& wanted, int line) {
  const Ready got = take(epoll);
  if (got == wanted) return;
  std::string text;
  for (const auto& [data, events] : got) text += " " + std::to_string(data) + ":" + std::to_string(events);
  fail("line %d: ready is%s", line, text.c_str());
}
#define EXPECT(epoll, ...) expect(epoll, Ready{__VA_ARGS__}, __LINE__)

void put(int fd, uint64_t value) {
  MUST_BE(write(fd, &value, sizeof value), sizeof value);
}
void clear(int fd) {
  uint64_t value;
  MUST_BE(read(fd, &value, sizeof value), sizeof value);
}

struct Pair {
  int reader, writer;
};
Pair make_pipe() {
  int ends[2];
  MUST(pipe2(ends, O_NONBLOCK) == 0);
  return {ends[0], ends[1]};
}

int full, empty;  // counters that several have

int levels;
void set_up_levels() {
  levels = epoll_create1(EPOLL_CLOEXEC);
  add(levels, full, EPOLLIN, 0xfedcba9876543210);
  add(levels, empty, EPOLLIN | EPOLLPRI | EPOLLRDHUP, 2);
}

// One edge that was told, alone in its epoll, and one that was not.
int edges, told_edges;
Pair told, untold;
void set_up_edges() {
  edges = epoll_create1(0), told_edges = epoll_create1(0);
  told = make_pipe(), untold = make_pipe();
  MUST_BE(write(told.writer, "x", 1), 1);
  add(told_edges, told.reader, EPOLLIN | EPOLLET, 1);
  EXPECT(told_edges, {1, EPOLLIN});
  EXPECT(told_edges);
  add(edges, untold.reader, EPOLLIN | EPOLLET, 2);
  MUST_BE(write(untold.writer, "y", 1), 1);
}
void check_edges() {
  EXPECT(told_edges);
  MUST_BE(write(told.writer, "x", 1), 1);
  EXPECT(told_edges, {1, EPOLLIN});
  EXPECT(edges, {2, EPOLLIN});
  EXPECT(edges);
}

// Told ones of a counter and of an empty pipe, one that was not told.
int shots, shot, waiting;
Pair drained;
void set_up_shots() {
  shots = epoll_create1(0), shot = eventfd(1, EFD_NONBLOCK), waiting = eventfd(0, EFD_NONBLOCK);
  drained = make_pipe();
  add(shots, shot, EPOLLIN | EPOLLONESHOT, 1);
  add(shots, drained.reader, EPOLLIN | EPOLLONESHOT | EPOLLET, 2);
  add(shots, waiting, EPOLLIN | EPOLLONESHOT, 3);
  MUST_BE(write(drained.writer, "z", 1), 1);
  EXPECT(shots, {1, EPOLLIN}, {2, EPOLLIN});
  char byte;
  MUST_BE(read(drained.reader, &byte, 1), 1);
}
void check_shots() {
  EXPECT(shots);
  MUST_BE(write(drained.writer, "z", 1), 1);
  close(drained.writer);
  EXPECT(shots);  // told: not even that the writer has gone
  put(waiting, 1);
  EXPECT(shots, {3, EPOLLIN});
  EXPECT(shots);
  change(shots, EPOLL_CTL_MOD, drained.reader, EPOLLIN | EPOLLONESHOT, 4);
  EXPECT(shots, {4, EPOLLIN | EPOLLHUP});
  change(shots, EPOLL_CTL_MOD, shot, EPOLLIN | EPOLLONESHOT, 5);
  EXPECT(shots, {5, EPOLLIN});
}

// A number that was closed, its file living on under another; the number given to other files since; a file twice.
int numbers, closed_copy, reused_copy;
void set_up_numbers() {
  numbers = epoll_create1(0);
  const int closed = eventfd(1, EFD_NONBLOCK);
  closed_copy = fcntl(closed, F_DUPFD, 100);
  add(numbers, closed, EPOLLIN, 1);
  close(closed);
  const int reused = eventfd(1, EFD_NONBLOCK);
  reused_copy = fcntl(reused, F_DUPFD, 100);
  MUST_BE(reused, closed);
  add(numbers, reused, EPOLLIN, 2);
  MUST_BE(dup2(empty, reused), reused);
  add(numbers, reused, EPOLLIN, 3);
  add(numbers, full, EPOLLIN, 4);
  const int again = dup(full);
  add(numbers, again, EPOLLIN, 5);
}
void check_levels_and_numbers() {
  EXPECT(levels, {0xfedcba9876543210, EPOLLIN});
  EXPECT(levels, {0xfedcba9876543210, EPOLLIN});
  put(empty, 1);
  EXPECT(levels, {0xfedcba9876543210, EPOLLIN}, {2, EPOLLIN});
  EXPECT(numbers, {1, EPOLLIN}, {2, EPOLLIN}, {3, EPOLLIN}, {4, EPOLLIN}, {5, EPOLLIN});
  clear(closed_copy);
  clear(reused_copy);
  EXPECT(numbers, {3, EPOLLIN}, {4, EPOLLIN}, {5, EPOLLIN});
  clear(empty);
  EXPECT(levels, {0xfedcba9876543210, EPOLLIN});
  change(numbers, EPOLL_CTL_DEL, full, 0, 0);
  EXPECT(numbers, {5, EPOLLIN});
}

int outer, inner, exclusive;
void set_up_nested() {
  outer = epoll_create1(0), inner = epoll_create1(0), exclusive = epoll_create1(0);
  add(inner, full, EPOLLIN, 1);
  add(outer, inner, EPOLLIN, 2);
  add(exclusive, empty, EPOLLIN | EPOLLEXCLUSIVE, 1);
}
void check_nested() {
  EXPECT(outer, {2, EPOLLIN});
  clear(full);
  EXPECT(outer);
  put(full, 1);
  EXPECT(outer, {2, EPOLLIN});
  EXPECT(exclusive);
  put(empty, 1);
  EXPECT(exclusive, {1, EPOLLIN});
}

// Two timers and a set of signals.
int others, timer, far, signals;
void set_up_others() {
  sigset_t usr;
  sigemptyset(&usr);
  sigaddset(&usr, SIGUSR1);
  MUST(sigprocmask(SIG_BLOCK, &usr, nullptr) == 0);
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), far = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  itimerspec spec{{0, 0}, {0, 1'000'000}};
  MUST(timerfd_settime(timer, 0, &spec, nullptr) == 0);
  spec.it_value.tv_sec = 3600;
  MUST(timerfd_settime(far, 0, &spec, nullptr) == 0);
  signals = signalfd(-1, &usr, SFD_NONBLOCK), others = epoll_create1(0);
  add(others, timer, EPOLLIN, 1);
  add(others, far, EPOLLIN, 2);
  add(others, signals, EPOLLIN, 3);
  sleep_ms(10);
}
void check_others() {
  EXPECT(others, {1, EPOLLIN});
  MUST(kill(getpid(), SIGUSR1) == 0);
  EXPECT(others, {1, EPOLLIN}, {3, EPOLLIN});
  signalfd_siginfo info{};
  MUST_BE(read(signals, &info, sizeof info), sizeof info);
  clear(timer);
  EXPECT(others);
  const itimerspec spec{{0, 0}, {0, 1}};
  MUST(timerfd_settime(far, 0, &spec, nullptr) == 0);
  sleep_ms(5);
  EXPECT(others, {2, EPOLLIN});
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  full = eventfd(1, EFD_NONBLOCK), empty = eventfd(0, EFD_NONBLOCK);
  set_up_levels();
  set_up_edges();
  set_up_shots();
  set_up_numbers();
  set_up_nested();
  set_up_others();
  ready();
  wait_for_end();
  check_levels_and_numbers();
  check_edges();
  check_shots();
  check_nested();
  check_others();
  return passed();
}
