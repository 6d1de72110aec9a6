// A family in the middle of a vfork: vfork-holder MILLISECONDS DEPTH. At the given depth of its children one makes a
// child with vfork, which ends so much later; then "done" is written to standard output. All live on until SIGTERM.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace {

// No more than a child of vfork may do.
void hold(useconds_t us) {
  const pid_t child = vfork();
  if (child == 0) {
    usleep(us);
    _exit(3);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 3 << 8) _exit(1);
  if (write(STDOUT_FILENO, "done\n", 5) != 5) _exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const useconds_t us = static_cast<useconds_t>(atoi(argv[1])) * 1000;
  bool holds = true;
  for (int depth = atoi(argv[2]); depth > 0 && holds; --depth) holds = fork() == 0;
  if (write(STDOUT_FILENO, "ready\n", 6) != 6) return 2;
  if (holds) hold(us);
  for (;;) pause();
}
