#include "bench/suite/limits.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "bench/suite/process.h"

namespace bench {
namespace {

char* take(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(1);
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  return static_cast<char*>(memory);
}

double fork_time() {
  const auto start = Clock::now();
  const pid_t child = fork();
  if (child == 0) _exit(0);
  const double ms = milliseconds_since(start);
  if (child < 0 || waitpid(child, nullptr, 0) != child) _exit(1);
  return ms;
}

template <typename Move>
double move_all(size_t bytes, Move move) {
  const auto start = Clock::now();
  for (size_t done = 0; done < bytes;) {
    const ssize_t part = move(done, std::min(bytes - done, size_t{8} << 20));
    if (part <= 0) _exit(1);
    done += static_cast<size_t>(part);
  }
  return milliseconds_since(start);
}

struct Times {
  double copy = 0, fill = 0, write = 0, read = 0, fork = 0;
};

Times measure_here(size_t bytes, const std::string& file) {
  Times times;
  char* source = take(bytes);
  for (size_t at = 0; at < bytes; at += 8) memcpy(source + at, &at, sizeof at);
  times.fork = fork_time();
  char* target = take(bytes);
  auto start = Clock::now();
  memcpy(target, source, bytes);
  times.fill = milliseconds_since(start);
  start = Clock::now();
  memcpy(target, source, bytes);
  times.copy = milliseconds_since(start);
  munmap(target, bytes);
  const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) _exit(1);
  unlink(file.c_str());
  times.write = move_all(bytes, [&](size_t at, size_t part) { return write(fd, source + at, part); });
  munmap(source, bytes);
  target = take(bytes);
  times.read =
      move_all(bytes, [&](size_t at, size_t part) { return pread(fd, target + at, part, static_cast<off_t>(at)); });
  return times;
}

}  // namespace

std::map<std::string, double> measure_limits(long mib, const std::string& folder) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw Failure("no pipe for the limits");
  const pid_t child = fork();
  if (child == 0) {
    const Times times = measure_here(static_cast<size_t>(mib) << 20, folder + "/limits");
    _exit(write(ends[1], &times, sizeof times) == sizeof times ? 0 : 1);
  }
  close(ends[1]);
  Times times;
  const bool came = read(ends[0], &times, sizeof times) == sizeof times;
  close(ends[0]);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !came || status != 0)
    throw Failure("the limits of " + std::to_string(mib) + " MiB could not be measured");
  return {{"memcpy_ms", times.copy},
          {"fill_ms", times.fill},
          {"write_ms", times.write},
          {"read_ms", times.read},
          {"fork_ms", times.fork}};
}

}  // namespace bench
