// stack-shapes SHAPE: stands for ever with a stack of this shape, having printed "ready".
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t never = PTHREAD_COND_INITIALIZER;
std::atomic<int> arrived{0};

void say(const char* text) {
  if (write(1, text, strlen(text)) < 0) _exit(3);
}

volatile int released = 0;  // never set, which the compiler does not know

void stand() {
  while (released == 0) pause();
}

}  // namespace

namespace shapes {

// What stands behind each call keeps it from becoming a jump.
template <typename Number>
struct Ladder {
  __attribute__((noinline)) Number climb(Number steps, void (*top)()) {
    if (steps == 0) {
      top();
      return 1;
    }
    return climb(steps - 1, top) + 1;
  }
};

__attribute__((noinline)) void wait_for_condition() {
  ++arrived;
  pthread_mutex_lock(&mutex);
  for (;;) pthread_cond_wait(&never, &mutex);
}

__attribute__((noinline)) void sleep_long() {
  ++arrived;
  for (;;) sleep(1000);
}

// A leaf: no frame, no call.
__attribute__((noinline)) int spin_in_leaf(volatile int* value) {
  while (*value == 0) {
  }
  return *value;
}

__attribute__((noinline)) void spin() {
  static volatile int value = 0;
  ++arrived;
  spin_in_leaf(&value);
  say("the leaf has returned\n");
}

__attribute__((noinline)) void ask_the_time() {
  timespec now;
  for (;;) clock_gettime(CLOCK_MONOTONIC, &now);
}

void* run_thread(void* top) {
  Ladder<long> ladder;
  ladder.climb(2, reinterpret_cast<void (*)()>(top));
  return nullptr;
}

void stand_with_threads() {
  pthread_t threads[3];
  void (*tops[])() = {wait_for_condition, sleep_long, spin};
  for (int i = 0; i < 3; ++i) pthread_create(&threads[i], nullptr, run_thread, reinterpret_cast<void*>(tops[i]));
  while (arrived < 3) usleep(1000);
  say("ready\n");
  for (auto& thread : threads) pthread_join(thread, nullptr);
}

__attribute__((noinline)) void on_signal(int) {
  say("ready\n");
  stand();
}

__attribute__((noinline)) int fault_in_leaf(int* address) {
  *address = 1;
  return 2;
}

void stand_in_handler() {
  stack_t stack{};
  stack.ss_size = 65536;
  stack.ss_sp = malloc(stack.ss_size);
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  volatile int* nowhere = nullptr;
  if (fault_in_leaf(const_cast<int*>(nowhere)) != 2) say("?\n");
}

__attribute__((noinline)) void called_by_made_code() {
  say("ready\n");
  stand();
}

// sub $8, %rsp; call *%rdi; add $8, %rsp; ret: no table tells how to leave it.
void stand_below_made_code() {
  const unsigned char code[] = {0x48, 0x83, 0xec, 0x08, 0xff, 0xd7, 0x48, 0x83, 0xc4, 0x08, 0xc3};
  void* place = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(place, code, sizeof code);
  reinterpret_cast<void (*)(void (*)())>(place)(called_by_made_code);
  say("made code has returned\n");
}

__attribute__((noinline)) int recurse(int depth) {
  if (depth == 0) {
    say("ready\n");
    stand();
    return 0;
  }
  return recurse(depth - 1) + 1;
}

// The return address leads nowhere.
__attribute__((noinline)) void stand_on_broken_stack() {
  say("ready\n");
  asm volatile(
      "mov $0x1234, %%eax\n push %%rax\n push %%rax\n"
      "1: pause\n jmp 1b\n" ::
          : "rax", "memory");
}

// Each wait says so when it ends: nothing that is waited for ever comes.
void report(const char* call, long result) {
  char line[64];
  snprintf(line, sizeof line, "%s: %ld, %s\n", call, result, strerror(errno));
  say(line);
}

void* wait_for_epoll(void*) {
  epoll_event event;
  const int epoll = epoll_create1(0);
  ++arrived;
  for (;;) report("epoll_wait", epoll_wait(epoll, &event, 1, -1));
}
void* wait_for_pipe(void*) {
  int ends[2];
  char byte;
  if (pipe(ends) != 0) _exit(3);
  ++arrived;
  for (;;) report("read", read(ends[0], &byte, 1));
}
void* wait_for_signal(void*) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ++arrived;
  for (;;) report("sigwaitinfo", sigwaitinfo(&set, nullptr));
}
void* wait_for_time(void*) {
  const timespec hour{3600, 0};
  ++arrived;
  for (;;) report("nanosleep", nanosleep(&hour, nullptr));
}

void wait_in_all_ways() {
  pthread_t thread;
  for (auto* wait : {wait_for_epoll, wait_for_pipe, wait_for_signal, wait_for_time})
    pthread_create(&thread, nullptr, wait, nullptr);
  while (arrived < 4) usleep(1000);
  usleep(20000);
  say("ready\n");
  pthread_join(thread, nullptr);
}

// What a dump refuses of a thread that stands still.
void* stand_dispatched(void*) {
  constexpr int kSetDispatch = 59,
                kOn = 1;  // PR_SET_SYSCALL_USER_DISPATCH (5.11); calls from this range are let through
  static char selector = 1;
  if (prctl(kSetDispatch, kOn, 0x1000L, 0x7fffffff0000L, &selector) != 0) _exit(77);
  say("ready\n");
  stand();
  return nullptr;
}

void stand_beside_dispatched() {
  pthread_t thread;
  pthread_create(&thread, nullptr, stand_dispatched, nullptr);
  pthread_join(thread, nullptr);
}

void stand_as_tree() {
  if (fork() == 0) {
    if (fork() == 0) sleep_long();
    sleep_long();
  }
  say("ready\n");
  wait(nullptr);
}

}  // namespace shapes

int main(int argc, char** argv) {
  const std::string shape = argc > 1 ? argv[1] : "";
  if (shape == "threads") shapes::stand_with_threads();
  if (shape == "handler") shapes::stand_in_handler();
  if (shape == "made-code") shapes::stand_below_made_code();
  if (shape == "deep") return shapes::recurse(20000);
  if (shape == "broken") shapes::stand_on_broken_stack();
  if (shape == "waits") shapes::wait_in_all_ways();
  if (shape == "dispatched") shapes::stand_beside_dispatched();
  if (shape == "tree") shapes::stand_as_tree();
  if (shape == "time") {
    say("ready\n");
    shapes::ask_the_time();
  }
  return 2;
}
