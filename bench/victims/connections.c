// argv[1] TCP connections over the loopback, both ends of each in this process. At a question a number goes each way
// through all of them; answers with the sum of what arrived.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "answer.h"
#include "limits.h"

static uint64_t pass(int from, int to, uint64_t value) {
  uint64_t arrived = 0;
  if (send(from, &value, sizeof value, 0) != (ssize_t)sizeof value) _exit(6);
  if (recv(to, &arrived, sizeof arrived, MSG_WAITALL) != (ssize_t)sizeof arrived) _exit(6);
  return arrived;
}

static void connect_pair(int listener, const struct sockaddr_in* address, int ends[2]) {
  ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (ends[0] < 0 || connect(ends[0], (const struct sockaddr*)address, sizeof *address) != 0) _exit(5);
  ends[1] = accept(listener, NULL, NULL);
  if (ends[1] < 0) _exit(5);
}

int main(int argc, char** argv) {
  prepare();
  const unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 2;
  if (raise_descriptor_limit(2 * count + 64) != 0) return 5;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr*)&address, sizeof address) != 0 ||
      listen(listener, (int)count) != 0 || getsockname(listener, (struct sockaddr*)&address, &length) != 0)
    return 5;
  int(*pairs)[2] = calloc(count, sizeof *pairs);
  for (unsigned i = 0; i < count; ++i) connect_pair(listener, &address, pairs[i]);
  for (;;) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; ++i)
      sum += (pass(pairs[i][0], pairs[i][1], secret + i) + pass(pairs[i][1], pairs[i][0], secret ^ i)) * (i + 1);
    answer(sum);
    wait_for_question();
  }
}
