// Programs that never stand still: busy-tree signals|chain|execs|ends|kills. They go on until they are killed.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

char** arguments;
int ends[2];
volatile sig_atomic_t sent;

void wait_us(useconds_t us) {
  usleep(us);
}

void start_thread(void* (*body)(void*)) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 64 << 10);
  pthread_t thread;
  while (pthread_create(&thread, &attributes, body, nullptr) != 0) {
  }
  pthread_attr_destroy(&attributes);
}

void send_byte(int) {
  const char byte = 1;
  if (write(ends[1], &byte, 1) == 1) sent = sent + 1;
}

// A signal's handler writes to a socket; the program sleeps twice and then reads it empty. What was sent and did not
// arrive is reported.
[[noreturn]] void signals() {
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) _exit(1);
  signal(SIGALRM, send_byte);
  const itimerval every{{0, 4000}, {0, 4000}};
  setitimer(ITIMER_REAL, &every, nullptr);
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  long received = 0, reported = 0;
  for (;;) {
    pollfd end{ends[0], POLLIN, 0};
    poll(nullptr, 0, 1000);
    poll(&end, 1, 1000);
    sigprocmask(SIG_BLOCK, &alarm, nullptr);
    char bytes[4096];
    for (ssize_t n; (n = read(ends[0], bytes, sizeof bytes)) > 0;) received += n;
    if (sent - received != reported) dprintf(1, "lost %ld\n", reported = sent - received);
    sigprocmask(SIG_UNBLOCK, &alarm, nullptr);
  }
}

// Each thread makes the next one and ends.
void* make_next(void*) {
  for (volatile int i = 0; i < 20'000;) i = i + 1;
  start_thread(make_next);
  return nullptr;
}

void* stay(void*) {
  for (;;) wait_us(1000);
}

void* execute_itself(void*) {
  wait_us(2000);
  execv("/proc/self/exe", arguments);
  abort();
}

void* end_process(void*) {
  _exit(0);
}

[[noreturn]] void chain() {
  start_thread(make_next);
  for (;;) pause();
}

// A thread that is not the leader calls execve, again and again.
[[noreturn]] void execs() {
  for (int i = 0; i < 3; ++i) start_thread(stay);
  start_thread(execute_itself);
  for (;;) wait_us(1000);
}

// Processes of several threads that end as a whole, by one of them.
[[noreturn]] void process_ends() {
  for (;;) {
    const pid_t child = fork();
    if (child == 0) {
      start_thread(stay);
      start_thread(stay);
      wait_us(1000);
      start_thread(end_process);
      for (;;) pause();
    }
    waitpid(child, nullptr, 0);
  }
}

// A process that is killed by the grandchild of its brother.
[[noreturn]] void kills() {
  for (;;) {
    const pid_t victim = fork();
    if (victim == 0)
      for (;;) pause();
    const pid_t child = fork();
    if (child == 0) {
      const pid_t killer = fork();
      if (killer == 0) {
        kill(victim, SIGKILL);
        _exit(0);
      }
      waitpid(killer, nullptr, 0);
      _exit(0);
    }
    waitpid(child, nullptr, 0);
    waitpid(victim, nullptr, 0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  arguments = argv;
  if (argc != 2) return 2;
  if (strcmp(argv[1], "signals") == 0) signals();
  if (strcmp(argv[1], "chain") == 0) chain();
  if (strcmp(argv[1], "execs") == 0) execs();
  if (strcmp(argv[1], "ends") == 0) process_ends();
  if (strcmp(argv[1], "kills") == 0) kills();
  return 2;
}
