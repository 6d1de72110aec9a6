// A tree whose processes or threads come and go every millisecond. `changing-tree WHAT`: pipes and sockets of which
// only a newborn child has the one end, children whose leader ends first, orphans, threads, and children that map a
// deleted file, which a process outside of the tree has mapped as well. Says "ready" when all are at it.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

namespace {

constexpr int kMakers = 6;

void sleep_us(long us) {
  const timespec time{us / 1'000'000, us % 1'000'000 * 1000};
  nanosleep(&time, nullptr);
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  _exit(1);
}

pid_t fork_child(const std::function<void()>& child) {
  const pid_t pid = fork();
  require(pid >= 0, "fork");
  if (pid > 0) return pid;
  child();
  _exit(0);
}

void await(pid_t pid) {
  int status = 0;
  require(waitpid(pid, &status, 0) == pid && status == 0, "a child");
}

void answer(int mine, int its) {
  const pid_t child = fork_child([=] {
    close(mine);
    sleep_us(3000);
    require(write(its, "x", 1) == 1, "write");
  });
  close(its);
  char bytes[2];
  require(read(mine, bytes, 2) == 1 && read(mine, bytes, 2) == 0, "read");
  close(mine);
  await(child);
}

void pipes() {
  int ends[2];
  require(pipe(ends) == 0, "pipe");
  answer(ends[0], ends[1]);
}

void sockets() {
  int ends[2];
  require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
  answer(ends[0], ends[1]);
}

void* live_on(void*) {
  sleep_us(20'000);
  return nullptr;
}

void leaders() {
  await(fork_child([] {
    pthread_t thread;
    require(pthread_create(&thread, nullptr, live_on, nullptr) == 0, "pthread_create");
    sleep_us(10'000);
    pthread_exit(nullptr);
  }));
}

void orphans() {
  await(fork_child([] {
    fork_child([] { sleep_us(8000); });
    sleep_us(3000);
  }));
}

void* end_at_once(void*) {
  sleep_us(300);
  return nullptr;
}

void threads() {
  pthread_t some[4];
  for (pthread_t& thread : some) require(pthread_create(&thread, nullptr, end_at_once, nullptr) == 0, "pthread_create");
  for (const pthread_t thread : some) pthread_join(thread, nullptr);
}

int deleted_file = -1;

void map_deleted() {
  require(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, deleted_file, 0) != MAP_FAILED, "mmap");
}

void mappings() {
  await(fork_child([] {
    map_deleted();
    sleep_us(3000);
  }));
}

// In the working directory. The process outside is not of the tree, as its parent has ended.
void share_deleted() {
  const int writable = open("deleted", O_RDWR | O_CREAT, 0600);
  require(writable >= 0 && ftruncate(writable, 4096) == 0, "deleted");
  close(writable);
  deleted_file = open("deleted", O_RDONLY);
  require(deleted_file >= 0 && unlink("deleted") == 0, "deleted");
  await(fork_child([] {
    const pid_t outside = fork_child([] {
      map_deleted();
      setsid();
      close(deleted_file);
      sleep_us(120'000'000);
    });
    std::printf("outside %d\n", outside);
    std::fflush(stdout);
  }));
}

}  // namespace

int main(int, char** argv) {
  const std::string what = argv[1];
  if (what == "mappings") share_deleted();
  const auto act = what == "pipes"      ? pipes
                   : what == "sockets"  ? sockets
                   : what == "leaders"  ? leaders
                   : what == "orphans"  ? orphans
                   : what == "threads"  ? threads
                   : what == "mappings" ? mappings
                                        : nullptr;
  require(act != nullptr, "what?");
  for (int i = 0; i < kMakers; ++i)
    fork_child([act] {
      for (;;) act();
    });
  std::puts("ready");
  std::fflush(stdout);
  for (int status = 0; wait(&status) > 0;) require(false, "a maker has ended");
}
