// A fanotify group of a program without rights: it tells of others, but not who they are.
#include <sys/fanotify.h>

#include "family.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  const std::string file = prefix + ".watched";
  MUST(open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666) >= 0);
  MUST_BE(chmod(file.c_str(), 0666), 0);
  MUST_BE(setresgid(1000, 1000, 1000), 0);
  MUST_BE(setresuid(1000, 1000, 1000), 0);
  MUST_BE(prctl(PR_SET_DUMPABLE, 1), 0);
  const int group = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_REPORT_FID, O_RDONLY);
  if (group < 0 && (errno == EPERM || errno == ENOSYS)) skip("no fanotify without rights here (5.13)");
  MUST(group >= 0);
  MUST_BE(fanotify_mark(group, FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, file.c_str()), 0);
  ready();
  wait_for_end();
  const auto write_to = [&] {
    const int fd = open(file.c_str(), O_WRONLY | O_CLOEXEC);
    MUST(fd >= 0);
    MUST_BE(write(fd, "x", 1), 1);
    close(fd);
  };
  char buffer[512];
  const auto pid_of_event = [&] {
    const ssize_t got = read(group, buffer, sizeof buffer);
    MUST(got > 0);
    const auto* event = reinterpret_cast<const fanotify_event_metadata*>(buffer);
    MUST_BE(event->mask, FAN_MODIFY);
    MUST_BE(event->event_len, got);
    return event->pid;
  };
  MUST(read(group, buffer, sizeof buffer) < 0 && errno == EAGAIN);
  write_to();
  MUST_BE(pid_of_event(), getpid());
  const pid_t child = fork_child([&] {
    write_to();
    _exit(4);
  });
  expect_end(child, 4);
  MUST_BE(pid_of_event(), 0);
  MUST(fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN, AT_FDCWD, "/") != 0);
  MUST_BE(errno, EPERM);
  unlink(file.c_str());
  return passed();
}
