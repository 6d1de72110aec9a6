// Writes 1, 2, 3, … as eight bytes each to standard output, for ever, with a short sleep after each. It keeps the count
// twice, in a register and in memory, and ends with an error when they differ.
#include <time.h>
#include <unistd.h>

#include <cstdint>

static volatile uint64_t kept = 0;

int main() {
  for (uint64_t count = 1;; ++count) {
    kept = kept + 1;
    if (kept != count) return 1;
    if (write(STDOUT_FILENO, &count, sizeof count) != sizeof count) return 2;
    const timespec pause{0, 100'000};
    nanosleep(&pause, nullptr);
  }
}
