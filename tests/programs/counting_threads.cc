// counting-threads FILE: four threads take turns at writing consecutive numbers, one a line of ten bytes, to FILE.
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>

namespace {

pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
int output = -1;
int next_number = 0;

void* count(void*) {
  for (;;) {
    char line[16];
    pthread_mutex_lock(&turn);
    int size = snprintf(line, sizeof line, "%09d\n", next_number);
    if (write(output, line, static_cast<size_t>(size)) != size) _exit(3);
    ++next_number;
    pthread_mutex_unlock(&turn);
    timespec pause{0, 500'000};
    if (nanosleep(&pause, nullptr) != 0) _exit(4);  // nobody sends signals: EINTR is a defect
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || (output = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) < 0) return 2;
  pthread_t threads[3];
  for (auto& thread : threads)
    if (pthread_create(&thread, nullptr, count, nullptr) != 0) return 3;
  count(nullptr);
}
