// A child waits for a lock of its parent, another for one of an open file: both get it when it is released, not before.
#include <sys/file.h>

#include "family.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const std::string path = prefix + ".locked";
  int mine = open(path.c_str(), O_RDWR | O_CREAT, 0600);
  struct flock all {};
  all.l_type = F_WRLCK;
  MUST_BE(fcntl(mine, F_SETLK, &all), 0);
  MUST_BE(flock(mine, LOCK_EX), 0);
  int told[2];
  MUST_BE(pipe(told), 0);
  const auto wait_for = [&](int code) {
    return fork_child([&, code] {
      int own = open(path.c_str(), O_RDWR);
      close(mine);
      nursery.grown();
      int got = code == 20 ? fcntl(own, F_SETLKW, &all) : flock(own, LOCK_EX);
      if (got != 0) _exit(11);
      char byte = 1;
      if (write(told[1], &byte, 1) != 1) _exit(12);
      wait_for_end();
      _exit(code);
    });
  };
  pid_t first = wait_for(20), second = wait_for(30);
  nursery.expect(2);
  sleep_ms(100);
  ready("dump --file-locks\n");
  wait_for_end();

  sleep_ms(50);
  MUST_BE(fcntl(told[0], F_SETFL, O_NONBLOCK), 0);
  char byte;
  MUST_BE(read(told[0], &byte, 1), -1);  // both still wait
  MUST_BE(fcntl(told[0], F_SETFL, 0), 0);
  all.l_type = F_UNLCK;
  MUST_BE(fcntl(mine, F_SETLK, &all), 0);
  MUST_BE(read(told[0], &byte, 1), 1);
  MUST_BE(flock(mine, LOCK_UN), 0);
  MUST_BE(read(told[0], &byte, 1), 1);
  expect_end(first, 20);
  expect_end(second, 30);
  return passed();
}
