// Files of /proc about the program itself, about one of its threads, and about one of its descriptors.
#include <dirent.h>
#include <pthread.h>
#include <sys/mman.h>

#include "contract.h"

static volatile pid_t thread_id;
static volatile bool done;

static void* idle(void*) {
  thread_id = static_cast<pid_t>(syscall(SYS_gettid));
  while (!done) workload::sleep_ms(10);
  return nullptr;
}

static std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, n);
  return text;
}

static int open_proc(const std::string& name, int flags = O_RDONLY) {
  int fd = open(("/proc/self/" + name).c_str(), flags);
  MUST(fd >= 0);
  return fd;
}

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, idle, nullptr) == 0);
  while (!thread_id) workload::sleep_ms(1);
  auto* secret = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(secret != MAP_FAILED);
  strcpy(secret, "in memory");
  int memory = open_proc("mem", O_RDWR | O_CLOEXEC);
  MUST(lseek(memory, reinterpret_cast<off_t>(secret), SEEK_SET) > 0);
  int status = open_proc("status");
  int of_thread = open_proc("task/" + std::to_string(thread_id) + "/status");
  int self = open("/proc/thread-self/stat", O_RDONLY);
  int oom = open_proc("oom_score_adj", O_RDWR);
  int info = open_proc("fdinfo/" + std::to_string(memory));
  int folder = open_proc("", O_RDONLY | O_DIRECTORY);
  int path = open_proc("task", O_PATH | O_DIRECTORY);
  int maps = open_proc("maps");
  char start[101] = {};
  MUST_BE(read(maps, start, 100), 100);
  int copy = dup(maps);
  int fds = open_proc("fd", O_RDONLY | O_DIRECTORY);
  MUST(fds >= 0 && copy >= 0);
  workload::ready();
  workload::wait_for_end();

  char text[16] = {};
  MUST_BE(read(memory, text, 9), 9);
  MUST(strcmp(text, "in memory") == 0);
  MUST_BE(pwrite(memory, "IN", 2, reinterpret_cast<off_t>(secret)), 2);
  MUST(strcmp(secret, "IN memory") == 0);
  MUST_BE(fcntl(memory, F_GETFD), FD_CLOEXEC);
  MUST(read_all(status).find("\nPid:\t" + std::to_string(getpid()) + "\n") != std::string::npos);
  MUST(read_all(of_thread).find("\nPid:\t" + std::to_string(thread_id) + "\n") != std::string::npos);
  MUST(read_all(self).starts_with(std::to_string(getpid()) + " "));
  MUST(read_all(oom).size() > 1);
  MUST(read_all(info).starts_with("pos:\t"));
  MUST(faccessat(folder, "status", F_OK, 0) == 0);
  MUST(faccessat(path, std::to_string(thread_id).c_str(), F_OK, 0) == 0);
  std::string whole = workload::read_file("/proc/self/maps");
  MUST(whole.compare(0, 100, start) == 0);
  MUST(read_all(copy) == whole.substr(100));  // from where it stood, and about this process only
  DIR* listing = fdopendir(fds);
  int count = 0;
  while (dirent* entry = readdir(listing)) count += entry->d_name[0] != '.';
  MUST_BE(count, 3 + 11);
  done = true;
  pthread_join(thread, nullptr);
  return workload::passed();
}
