// Children stopped by job control: one whose stop was collected, one whose was not; both go on when continued.
#include "family.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  pid_t known = fork_child([&] { live(nursery, 5); }), unknown = fork_child([&] { live(nursery, 6); });
  nursery.expect(2);
  kill(known, SIGSTOP);
  int status = 0;
  if (waitpid(known, &status, WUNTRACED) != known || !WIFSTOPPED(status)) fail("it did not stop");
  kill(unknown, SIGSTOP);
  siginfo_t info{};
  if (waitid(P_PID, unknown, &info, WSTOPPED | WNOWAIT) != 0) fail("waitid: %s", strerror(errno));
  ready();
  wait_for_end();
  if (waitpid(unknown, &status, WUNTRACED | WNOHANG) != unknown || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
    fail("the stop of the second child cannot be collected any more");
  if (waitpid(known, &status, WUNTRACED | WNOHANG) != 0) fail("the stop of the first child is announced again");
  for (pid_t pid : {known, unknown}) {
    kill(pid, SIGCONT);
    if (waitpid(pid, &status, WCONTINUED) != pid || !WIFCONTINUED(status)) fail("it was not continued");
  }
  expect_end(known, 5);
  expect_end(unknown, 6);
  return passed();
}
