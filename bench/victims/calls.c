// At each question a fixed amount of what programs ask of the system and of the C library: memory, files, pipes, locks,
// threads and processes. Answers with the nanoseconds that it took.
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#include "answer.h"

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void* nothing(void* value) {
  return value;
}

static void allocate(void) {
  static void* volatile blocks[64];
  for (unsigned i = 0; i < 200000; ++i) {
    free(blocks[i % 64]);
    blocks[i % 64] = malloc(16 + i % 1000);
  }
}

static void lock_and_unlock(void) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  for (unsigned i = 0; i < 200000; ++i) pthread_mutex_lock(&lock), pthread_mutex_unlock(&lock);
}

static void use_pipes(const int* ends) {
  for (uint64_t i = 0, back = 0; i < 20000; ++i)
    if (write(ends[1], &i, sizeof i) != sizeof i || read(ends[0], &back, sizeof back) != sizeof back || back != i)
      wrong("a pipe gave something else than was written");
}

static void use_files(void) {
  for (unsigned i = 0; i < 5000; ++i) {
    const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || close(fd) != 0) wrong("/dev/null cannot be opened");
  }
}

static void make_threads(void) {
  for (unsigned i = 0; i < 100; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0) wrong("no thread");
  }
}

static void make_processes(void) {
  for (unsigned i = 0; i < 10; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    if (child < 0 || waitpid(child, NULL, 0) != child) wrong("no process");
  }
}

int main(void) {
  int ends[2];
  prepare();
  if (pipe(ends) != 0) return 5;
  answer(0);
  for (;;) {
    wait_for_question();
    const uint64_t start = now();
    allocate();
    lock_and_unlock();
    use_pipes(ends);
    use_files();
    make_threads();
    make_processes();
    answer(now() - start);
  }
}
