// The contract between a workload and whoever runs it. README.md of this folder has it in words.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace workload {

inline std::string prefix;  // argv[1]

inline void write_file(const std::string& path, const std::string& text) {
  std::string temporary = path + ".part";
  int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) _exit(3);
  if (write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) _exit(3);
  close(fd);
  if (rename(temporary.c_str(), path.c_str()) != 0) _exit(3);
}

inline std::string read_file(const std::string& path) {
  std::string text;
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char buffer[65536];
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, got);
  close(fd);
  return text;
}

[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
  char reason[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reason, sizeof reason, format, arguments);
  va_end(arguments);
  write_file(prefix + ".result", std::string("FAIL ") + reason + "\n");
  _exit(1);
}

// The machine cannot do what this program tests.
[[noreturn]] inline void skip(const char* reason) {
  write_file(prefix + ".result", std::string("SKIP ") + reason + "\n");
  _exit(77);
}

inline int passed() {
  write_file(prefix + ".result", "PASS\n");
  return 0;
}

// First call of main(). SIGTERM stays blocked, in every thread that is started later too, until it is waited for.
inline void begin(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s PREFIX\n", argv[0]);
    exit(2);
  }
  prefix = argv[1];
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, nullptr);
}

// State is set up. `hints` are lines for the driver, see README.md.
inline void ready(const std::string& hints = {}) {
  write_file(prefix + ".ready", "READY\n" + hints);
}

// Waits for SIGTERM in rt_sigtimedwait.
inline void wait_for_end() {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  int signal = 0;
  if (sigwait(&term, &signal) != 0) fail("sigwait: %s", strerror(errno));
}

// For programs that work in a loop: has SIGTERM arrived?
inline bool end_requested() {
  sigset_t pending;
  return sigpending(&pending) == 0 && sigismember(&pending, SIGTERM) == 1;
}

inline int64_t now_ns(clockid_t clock = CLOCK_MONOTONIC) {
  timespec time{};
  clock_gettime(clock, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

inline timespec timespec_of(int64_t ns) {
  return {ns / 1'000'000'000, ns % 1'000'000'000};
}
inline int64_t ns_of(const timespec& time) {
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

inline void sleep_ms(int64_t ms) {
  timespec end = timespec_of(now_ns() + ms * 1'000'000);
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr) == EINTR) {
  }
}

// How long the program did not exist between two instants: at least and at most, in nanoseconds. The driver writes
// PREFIX.pauses before it sends SIGTERM: a line "gone A B C D" (CLOCK_MONOTONIC, ns) for each time the program was
// dumped between A and B, and restored between C and D.
struct Gone {
  int64_t least = 0, most = 0;
};

inline Gone gone_between(int64_t from, int64_t to) {
  Gone gone;
  auto overlap = [&](int64_t start, int64_t end) {
    int64_t low = start > from ? start : from, high = end < to ? end : to;
    return high > low ? high - low : 0;
  };
  std::string text = read_file(prefix + ".pauses");
  for (const char* line = text.c_str(); line && *line;) {
    long long a, b, c, d;
    if (sscanf(line, "gone %lld %lld %lld %lld", &a, &b, &c, &d) == 4) {
      gone.least += overlap(b, c);
      gone.most += overlap(a, d);
    }
    line = strchr(line, '\n');
    if (line) ++line;
  }
  return gone;
}

// A reproducible stream of bytes (xorshift64*).
class Pattern {
 public:
  explicit Pattern(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Dull;
  }

 private:
  uint64_t state_;
};

inline void fill(void* memory, size_t size, uint64_t seed) {
  Pattern pattern(seed);
  auto* bytes = static_cast<unsigned char*>(memory);
  for (size_t i = 0; i < size; i += 8) {
    uint64_t value = pattern.next();
    memcpy(bytes + i, &value, size - i < 8 ? size - i : 8);
  }
}

// Offset of the first byte that differs from fill(); -1 when none does.
inline long differs(const void* memory, size_t size, uint64_t seed) {
  Pattern pattern(seed);
  auto* bytes = static_cast<const unsigned char*>(memory);
  for (size_t i = 0; i < size; i += 8) {
    uint64_t value = pattern.next();
    size_t part = size - i < 8 ? size - i : 8;
    if (memcmp(bytes + i, &value, part) == 0) continue;
    for (size_t k = 0; k < part; ++k)
      if (bytes[i + k] != reinterpret_cast<unsigned char*>(&value)[k]) return static_cast<long>(i + k);
  }
  return -1;
}

inline long differs_from(const void* memory, size_t size, unsigned char value) {
  auto* bytes = static_cast<const unsigned char*>(memory);
  for (size_t i = 0; i < size; ++i)
    if (bytes[i] != value) return static_cast<long>(i);
  return -1;
}

}  // namespace workload

// Ends the program with FAIL, the condition and errno's text unless `condition` holds.
#define MUST(condition)                                                                                     \
  do {                                                                                                      \
    if (!(condition)) workload::fail("line %d: %s (errno now: %s)", __LINE__, #condition, strerror(errno)); \
  } while (0)

// The same for two integers, with their values.
#define MUST_BE(actual, expected)                                                                                     \
  do {                                                                                                                \
    long long actual_ = static_cast<long long>(actual), expected_ = static_cast<long long>(expected);                 \
    if (actual_ != expected_)                                                                                         \
      workload::fail("line %d: %s is %lld (0x%llx), not %lld (0x%llx) (errno now: %s)", __LINE__, #actual, actual_,   \
                     static_cast<unsigned long long>(actual_), expected_, static_cast<unsigned long long>(expected_), \
                     strerror(errno));                                                                                \
  } while (0)
