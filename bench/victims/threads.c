// argv[1] threads that sleep in turn: at a question each of them must wake and count. Answers with their count.
#include <pthread.h>

#include "answer.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, all_there = PTHREAD_COND_INITIALIZER;
static unsigned generation, there, wanted;

static void arrive(void) {
  if (++there == wanted) pthread_cond_signal(&all_there);
}

static void* work(void* nothing) {
  pthread_mutex_lock(&lock);
  unsigned seen = generation;
  arrive();
  for (;;) {
    while (generation == seen) pthread_cond_wait(&wake, &lock);
    seen = generation;
    arrive();
  }
  return nothing;
}

static void gather(void) {
  while (there < wanted) pthread_cond_wait(&all_there, &lock);
  answer(there);
}

int main(int argc, char** argv) {
  prepare();
  wanted = argc > 1 ? (unsigned)atoi(argv[1]) - 1 : 0;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 * 1024);
  for (unsigned i = 0; i < wanted; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, work, NULL) != 0) return 5;
  }
  pthread_mutex_lock(&lock);
  gather();
  for (;;) {
    pthread_mutex_unlock(&lock);
    wait_for_question();
    pthread_mutex_lock(&lock);
    there = 0;
    ++generation;
    pthread_cond_broadcast(&wake);
    gather();
  }
}
