// Inside a large write to a pipe that is full: what was taken already and what follows makes one unbroken stream.
#include <pthread.h>

#include "waiting.h"

namespace {

constexpr size_t kSize = 1u << 20;
int ends[2];
std::vector<unsigned char> sent(kSize);

void* writer(void*) {
  ssize_t done = 0;
  while (done < static_cast<ssize_t>(kSize)) {
    ssize_t put = write(ends[1], sent.data() + done, kSize - done);
    if (put < 0) workload::fail("write: %s", strerror(errno));
    done += put;
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  MUST(pipe(ends) == 0);
  workload::fill(sent.data(), kSize, 95);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, writer, nullptr) == 0);
  workload::sleep_ms(50);
  workload::ready();
  workload::wait_for_end();
  std::vector<unsigned char> received(kSize);
  for (size_t done = 0; done < kSize;) {
    ssize_t got = read(ends[0], received.data() + done, kSize - done);
    MUST(got > 0);
    done += got;
  }
  pthread_join(thread, nullptr);
  MUST(received == sent);
  return workload::passed();
}
