// The program behind the golden images: no libc, so that its image is small, and one of everything that a program can
// have. Started as `still PREFIX`: it sets everything up, makes PREFIX.ready and waits for SIGTERM; then it looks at
// what it has and makes PREFIX.passed, or PREFIX.failed-N with the number of the check that failed.
#include <asm/prctl.h>
#include <linux/sched.h>
#include <linux/time.h>
#include <stddef.h>
#include <stdint.h>

enum {
  kRead = 0,
  kWrite = 1,
  kOpen = 2,
  kClose = 3,
  kMmap = 9,
  kSigaction = 13,
  kSigprocmask = 14,
  kPipe = 22,
  kNanosleep = 35,
  kGetpid = 39,
  kClone = 56,
  kExit = 60,
  kKill = 62,
  kFcntl = 72,
  kUnlink = 87,
  kUmask = 95,
  kSetitimer = 38,
  kPrctl = 157,
  kTimerCreate = 222,
  kTimerGettime = 224,
  kTimerSettime = 223,
  kExitGroup = 231,
  kSigsuspend = 130,
  kSigpending = 127,
  kGetitimer = 36,
  kLseek = 8,
  kEventfd2 = 290,
};

static long call(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#define CALL1(n, a) call(n, (long)(a), 0, 0, 0, 0, 0)
#define CALL2(n, a, b) call(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define CALL3(n, a, b, c) call(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(n, a, b, c, d) call(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

enum { kSigUsr1 = 10, kSigUsr2 = 12, kSigTerm = 15, kFirstFd = 3 };
#define HOUR 3600

struct action {
  void (*handler)(int);
  uint64_t flags;
  void (*restorer)(void);
  uint64_t mask;
};
struct timer_value {
  int64_t interval_s, interval_rest, value_s, value_rest;
};

static volatile int terminated, counted;
static const char* prefix;
static volatile char* shared;
static char pattern[4096];
static char thread_stack[4096] __attribute__((aligned(16)));

static void on_term(int signal) {
  (void)signal;
  terminated = 1;
}
static void on_count(int signal) {
  (void)signal;
  ++counted;
}
__attribute__((naked)) static void back(void) {
  __asm__("mov $15, %eax\n\tsyscall");
}

static void make(const char* ending, int number) {
  char path[256];
  size_t n = 0;
  for (const char* c = prefix; *c && n < 200; ++c) path[n++] = *c;
  for (const char* c = ending; *c; ++c) path[n++] = *c;
  if (number > 0) path[n++] = '-', path[n++] = (char)('0' + number / 10), path[n++] = (char)('0' + number % 10);
  path[n] = 0;
  CALL1(kClose, CALL3(kOpen, path, 0101, 0644));  // O_WRONLY | O_CREAT
}

static void require(int holds, int number) {
  if (holds) return;
  make(".failed", number);
  CALL1(kExitGroup, 1);
}

static void sleep_in_a_thread(void) {
  CALL2(kPrctl, 15, "sleeper");  // PR_SET_NAME
  struct {
    int64_t s, ns;
  } day = {24 * HOUR, 0};
  CALL2(kNanosleep, &day, 0);
  CALL1(kExit, 0);
}

__attribute__((naked)) static long start_thread(__attribute__((unused)) long flags, __attribute__((unused)) void* stack,
                                                __attribute__((unused)) void (*body)(void)) {
  __asm__(
      "mov %rdx, %r9\n\t"
      "xor %edx, %edx\n\t"
      "xor %r10d, %r10d\n\t"
      "xor %r8d, %r8d\n\t"
      "mov $56, %eax\n\t"
      "syscall\n\t"
      "test %rax, %rax\n\t"
      "jnz 1f\n\t"
      "xor %ebp, %ebp\n\t"
      "call *%r9\n\t"
      "1: ret");
}

static int pipe_ends[2], timer_id = -1;

static void set_up(void) {
  for (int i = 0; i < 4096; ++i) pattern[i] = (char)(i * 7 + 3);
  shared = (volatile char*)call(kMmap, 0, 8192, 3, 0x21, -1, 0);  // PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS
  for (int i = 0; i < 8192; i += 64) shared[i] = (char)(i / 64);
  call(kMmap, 0, 4096, 0, 0x22, -1, 0);  // PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS

  struct action term = {on_term, 0x04000000, back, 0}, count = {on_count, 0x04000000, back, 1};  // SA_RESTORER
  CALL4(kSigaction, kSigTerm, &term, 0, 8);
  CALL4(kSigaction, kSigUsr1, &count, 0, 8);
  uint64_t blocked = 1ULL << (kSigUsr1 - 1) | 1ULL << (kSigUsr2 - 1) | 1ULL << (kSigTerm - 1);
  CALL4(kSigprocmask, 0, &blocked, 0, 8);
  CALL2(kKill, CALL1(kGetpid, 0), kSigUsr1);  // stays pending
  struct timer_value real = {0, 0, HOUR, 0};
  CALL3(kSetitimer, 0, &real, 0);
  struct {
    int64_t value;
    int signal, notify;
    char rest[48];
  } event = {42, kSigUsr2, 0, {0}};
  CALL3(kTimerCreate, 1, &event, &timer_id);  // CLOCK_MONOTONIC
  CALL4(kTimerSettime, timer_id, 0, &real, 0);

  CALL1(kPipe, pipe_ends);
  CALL3(kWrite, pipe_ends[1], "golden", 6);
  CALL3(kOpen, "/dev/null", 2, 0);
  CALL3(kLseek, CALL3(kOpen, "/proc/self/exe", 0, 0), 64, 0);
  char gone[] = "/tmp/mini-criu-golden/gone";
  CALL3(kWrite, CALL3(kOpen, gone, 0102, 0600), "deleted", 7);  // O_RDWR | O_CREAT
  CALL1(kUnlink, gone);
  CALL1(kUmask, 027);
  // CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM
  require(start_thread(0x50f00, thread_stack + sizeof thread_stack, sleep_in_a_thread) > 0, 1);
}

static void check(void) {
  for (int i = 0; i < 4096; ++i) require(pattern[i] == (char)(i * 7 + 3), 10);
  for (int i = 0; i < 8192; i += 64) require(shared[i] == (char)(i / 64), 11);
  char text[8];
  require(CALL3(kRead, pipe_ends[0], text, sizeof text) == 6 && text[0] == 'g' && text[5] == 'n', 12);
  uint64_t pending = 0;
  CALL2(kSigpending, &pending, 8);
  require((pending >> (kSigUsr1 - 1) & 1) != 0, 13);
  uint64_t blocked = 1ULL << (kSigUsr1 - 1);
  CALL4(kSigprocmask, 1, &blocked, 0, 8);
  require(counted == 1, 14);
  struct timer_value left = {0, 0, 0, 0};
  CALL2(kGetitimer, 0, &left);
  require(left.value_s > 0 && left.value_s <= HOUR, 15);
  CALL2(kTimerGettime, timer_id, &left);
  require(left.value_s > 0 && left.value_s <= HOUR, 16);
  require(CALL3(kLseek, kFirstFd + 3, 0, 1) == 64, 17);
  CALL3(kLseek, kFirstFd + 4, 0, 0);
  require(CALL3(kRead, kFirstFd + 4, text, sizeof text) == 7 && text[0] == 'd', 18);
  require(CALL1(kUmask, 022) == 027, 19);
}

__attribute__((used)) static void begin(long* stack) {
  prefix = (const char*)stack[2];
  if (stack[0] != 2) CALL1(kExitGroup, 2);
  set_up();
  make(".ready", 0);
  uint64_t waited = ~(1ULL << (kSigTerm - 1));
  while (!terminated) CALL2(kSigsuspend, &waited, 8);
  check();
  make(".passed", 0);
  CALL1(kExitGroup, 0);
}

__attribute__((naked, used)) void _start(void) {
  __asm__(
      "mov %rsp, %rdi\n\t"
      "and $-16, %rsp\n\t"
      "call begin\n\t"
      "hlt");
}
