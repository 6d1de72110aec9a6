// A program in a memfd that is run from its descriptor: one that was opened to write could not be (ETXTBSY).
#include <sys/mman.h>
#include <sys/wait.h>

#include "contract.h"

namespace {

void run(int program) {
  const pid_t child = fork();
  MUST(child >= 0);
  if (child == 0) {
    char name[] = "true";
    char* const arguments[] = {name, nullptr};
    char* const environment[] = {nullptr};
    syscall(SYS_execveat, program, "", arguments, environment, 0x1000);  // AT_EMPTY_PATH
    _exit(errno);
  }
  int status = 0;
  MUST(waitpid(child, &status, 0) == child);
  MUST_BE(status >> 8, 0);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const int from = open("/bin/true", O_RDONLY | O_CLOEXEC);
  const int program = static_cast<int>(syscall(SYS_memfd_create, "program", 0));
  MUST(from >= 0 && program >= 0);
  char bytes[65536];
  for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;) MUST(write(program, bytes, got) == got);
  close(from);
  run(program);
  workload::ready();
  workload::wait_for_end();
  run(program);
  MUST(lseek(program, 0, SEEK_CUR) > 4096);
  return workload::passed();
}
