// inotify(7): numbers with gaps, masks, files and folders and a link; nothing but what happens later is told. Parent
// and child share one.
#include <sys/inotify.h>

#include <deque>
#include <map>

#include "family.h"

using namespace workload;

namespace {

struct Event {
  int wd;
  uint32_t mask;
  std::string name;
};

// One event with a name of up to 15 bytes at a time, or two without.
Event take(int fd) {
  static std::map<int, std::deque<Event>> waiting;
  std::deque<Event>& queue = waiting[fd];
  if (queue.empty()) {
    alignas(inotify_event) char buffer[2 * sizeof(inotify_event)];
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EAGAIN) return {-1, 0, {}};
    MUST(got >= static_cast<ssize_t>(sizeof(inotify_event)));
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      queue.push_back({event->wd, event->mask, event->len > 0 ? event->name : ""});
      at += static_cast<ssize_t>(sizeof *event + event->len);
    }
  }
  const Event first = queue.front();
  queue.pop_front();
  return first;
}

void expect(int fd, int wd, uint32_t mask, const std::string& name, int line) {
  const Event event = take(fd);
  if (event.wd != wd || event.mask != mask || event.name != name)
    fail("line %d: watch %d mask %x '%s', not %d %x '%s'", line, event.wd, event.mask, event.name.c_str(), wd, mask,
         name.c_str());
}
#define EXPECT(fd, wd, mask, name) expect(fd, wd, mask, name, __LINE__)

int add(int fd, const std::string& path, uint32_t mask) {
  const int wd = inotify_add_watch(fd, path.c_str(), mask);
  if (wd < 0) fail("inotify_add_watch %s: %s", path.c_str(), strerror(errno));
  return wd;
}

void touch(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  MUST(fd >= 0);
  MUST_BE(write(fd, "x", 1), 1);
  close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const std::string folder = prefix + ".folder \tname", file = prefix + ".watched", link = prefix + ".link";
  MUST(mkdir(folder.c_str(), 0700) == 0);
  touch(file);
  MUST(symlink(file.c_str(), link.c_str()) == 0);
  const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), second = inotify_init1(IN_NONBLOCK), empty = inotify_init1(0);
  MUST(empty >= 0);
  int wds[6];
  for (int i = 0; i < 5; ++i) {  // 1 to 5, of which 1, 2 and 4 are removed again
    wds[i] = add(fd, i == 2 ? folder : i == 4 ? file : i == 0 ? "/" : i == 1 ? "/proc" : "/dev", IN_CREATE);
    MUST_BE(wds[i], i + 1);
  }
  for (const int i : {0, 1, 3}) {
    MUST_BE(inotify_rm_watch(fd, wds[i]), 0);
    EXPECT(fd, wds[i], IN_IGNORED, "");
  }
  MUST_BE(add(fd, folder, IN_CREATE | IN_DELETE | IN_EXCL_UNLINK), 3);
  MUST_BE(add(fd, file, IN_CLOSE_WRITE), 5);
  wds[5] = add(fd, link, IN_DELETE_SELF | IN_ONESHOT | IN_DONT_FOLLOW);
  MUST_BE(add(second, folder, IN_ALL_EVENTS), 1);
  const pid_t child = fork_child([&] {
    nursery.grown();
    wait_for_end();
    EXPECT(second, 1, IN_CREATE, "by the parent");
    EXPECT(second, 1, IN_OPEN, "by the parent");
    _exit(4);
  });
  nursery.expect(1);
  ready();
  wait_for_end();
  MUST_BE(take(fd).wd, -1);
  MUST_BE(take(second).wd, -1);
  touch(folder + "/by the parent");
  expect_end(child, 4);
  EXPECT(second, 1, IN_MODIFY, "by the parent");
  EXPECT(second, 1, IN_CLOSE_WRITE, "by the parent");
  EXPECT(fd, 3, IN_CREATE, "by the parent");
  touch(file);
  EXPECT(fd, 5, IN_CLOSE_WRITE, "");
  MUST_BE(unlink((folder + "/by the parent").c_str()), 0);
  EXPECT(fd, 3, IN_DELETE, "by the parent");
  MUST_BE(unlink(link.c_str()), 0);
  EXPECT(fd, wds[5], IN_DELETE_SELF, "");
  EXPECT(fd, wds[5], IN_IGNORED, "");
  MUST_BE(inotify_rm_watch(fd, 3), 0);
  EXPECT(fd, 3, IN_IGNORED, "");
  MUST_BE(add(fd, folder, IN_CREATE), 7);
  MUST_BE(add(empty, folder, IN_CREATE), 1);
  MUST_BE(fcntl(fd, F_GETFD), FD_CLOEXEC);
  MUST_BE(fcntl(empty, F_GETFL) & O_NONBLOCK, 0);
  unlink(file.c_str());
  rmdir(folder.c_str());
  expect_childless();
  return passed();
}
