// fanotify(7): marks on a folder, a file, a mount and a file system, ignore masks, evictable and unprivileged ones;
// nothing but what happens later is told. Parent and child share one group.
#include <poll.h>
#include <sys/fanotify.h>

#include <algorithm>

#include "family.h"

using namespace workload;

namespace {

constexpr unsigned kIgnore = 0x400, kEvictable = 0x200;  // FAN_MARK_IGNORE (6.0), FAN_MARK_EVICTABLE (5.19)

struct Told {
  uint64_t mask = 0;
  std::string name;  // of the entry, where the group reports names
  pid_t pid = 0;
  bool has_fd = false;
};

// The next event; mask 0: none waits.
Told take(int group) {
  alignas(fanotify_event_metadata) static char buffer[8192];
  static std::vector<std::pair<int, Told>> waiting;
  const auto next = [&] {
    return std::find_if(waiting.begin(), waiting.end(), [&](auto& w) { return w.first == group; });
  };
  auto found = next();
  if (found == waiting.end()) {
    pollfd ready{group, POLLIN, 0};
    if (poll(&ready, 1, 0) != 1) return {};
    const ssize_t got = read(group, buffer, sizeof buffer);
    MUST(got > 0);
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const fanotify_event_metadata*>(buffer + at);
      Told told{event->mask, {}, event->pid, event->fd >= 0};
      if (event->fd >= 0) close(event->fd);
      if (event->event_len > event->metadata_len) {
        const auto* info = reinterpret_cast<const fanotify_event_info_fid*>(buffer + at + event->metadata_len);
        if (info->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME) {
          unsigned bytes;
          memcpy(&bytes, info->handle, sizeof bytes);
          told.name = reinterpret_cast<const char*>(info->handle) + 8 + bytes;
        }
      }
      waiting.emplace_back(group, told);
      at += event->event_len;
    }
    found = next();
  }
  const Told first = found->second;
  waiting.erase(found);
  return first;
}

void expect(int group, uint64_t mask, const std::string& name, int line) {
  const Told told = take(group);
  if (told.mask != mask || told.name != name)
    fail("line %d: mask %llx '%s', not %llx '%s'", line, static_cast<unsigned long long>(told.mask), told.name.c_str(),
         static_cast<unsigned long long>(mask), name.c_str());
}
#define EXPECT(group, mask, name) expect(group, mask, name, __LINE__)

void touch(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  MUST(fd >= 0);
  MUST_BE(write(fd, "x", 1), 1);
  close(fd);
}

void look_into(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  MUST(fd >= 0);
  close(fd);
}

std::string info_of(int fd) {
  return read_file("/proc/self/fdinfo/" + std::to_string(fd));
}

void add(int group, unsigned flags, uint64_t mask, const std::string& path) {
  if (fanotify_mark(group, FAN_MARK_ADD | flags, mask, AT_FDCWD, path.c_str()) != 0)
    fail("fanotify_mark %s: %s", path.c_str(), strerror(errno));
}

void mark_all(int names, int files, int mounts, const std::string& folder, const std::string& file,
              const std::string& link) {
  add(names, 0, FAN_CREATE | FAN_DELETE | FAN_ONDIR | FAN_EVENT_ON_CHILD, folder);
  add(names, 0, FAN_DELETE_SELF, folder);
  add(names, FAN_MARK_DONT_FOLLOW, FAN_ATTRIB, link);
  add(files, 0, FAN_CLOSE | FAN_OPEN, file);
  add(files, FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_OPEN, file);
  if (fanotify_mark(files, FAN_MARK_ADD | kEvictable | kIgnore | FAN_MARK_IGNORED_SURV_MODIFY, FAN_ACCESS, AT_FDCWD,
                    folder.c_str()) != 0)
    MUST_BE(errno, EINVAL);  // older kernels
  add(mounts, FAN_MARK_MOUNT, FAN_CLOSE_WRITE, "/sys/kernel");
  // Where others hardly ever write: what they do there is told too.
  add(mounts, FAN_MARK_FILESYSTEM, FAN_CLOSE_WRITE | FAN_OPEN_EXEC, "/sys");
  add(mounts, FAN_MARK_FILESYSTEM | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_OPEN_EXEC, "/sys");
}

void expect_closings(int files, const std::string& file) {
  look_into(file);
  touch(file);
  const Told looked = take(files);
  MUST_BE(looked.mask & ~FAN_CLOSE, 0);  // the opening is ignored, before and after the file was written to
  MUST(looked.has_fd);
  MUST_BE(looked.pid, gettid());
  MUST_BE(take(files).mask & ~FAN_CLOSE, 0);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  if (geteuid() != 0) skip("only root marks mounts and file systems");
  Nursery nursery;
  const std::string folder = prefix + ".folder \tname", file = prefix + ".watched", link = prefix + ".link";
  MUST(mkdir(folder.c_str(), 0700) == 0);
  touch(file);
  MUST(symlink(file.c_str(), link.c_str()) == 0);
  const int names = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_DFID_NAME, O_RDONLY);
  if (names < 0 && (errno == EPERM || errno == ENOSYS)) skip("no fanotify here");
  MUST(names >= 0);
  const int files = fanotify_init(FAN_CLASS_CONTENT | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS | FAN_REPORT_TID,
                                  O_RDWR | O_LARGEFILE | O_NOATIME);
  MUST(files >= 0);
  const int mounts = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY), empty = fanotify_init(FAN_CLOEXEC, 0);
  MUST(mounts >= 0 && empty >= 0);
  mark_all(names, files, mounts, folder, file, link);
  const std::string shown[] = {info_of(names), info_of(files), info_of(mounts), info_of(empty)};
  const pid_t child = fork_child([&] {
    nursery.grown();
    wait_for_end();
    EXPECT(names, FAN_CREATE, "by the parent");
    _exit(4);
  });
  nursery.expect(1);
  ready();
  wait_for_end();
  MUST(take(names).mask == 0 && take(files).mask == 0 && take(mounts).mask == 0 && take(empty).mask == 0);
  touch(folder + "/by the parent");
  expect_end(child, 4);
  MUST_BE(mkdir((folder + "/sub").c_str(), 0700), 0);
  EXPECT(names, FAN_CREATE | FAN_ONDIR, "sub");
  MUST_BE(rmdir((folder + "/sub").c_str()), 0);
  MUST_BE(unlink((folder + "/by the parent").c_str()), 0);
  EXPECT(names, FAN_DELETE | FAN_ONDIR, "sub");
  EXPECT(names, FAN_DELETE, "by the parent");
  MUST_BE(lchown(link.c_str(), 0, 0), 0);
  MUST_BE(take(names).mask, FAN_ATTRIB);
  expect_closings(files, file);
  const int setting = open("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY | O_CLOEXEC);
  MUST(setting >= 0);
  close(setting);
  EXPECT(mounts, FAN_CLOSE_WRITE, "");
  MUST_BE(take(mounts).mask, 0);
  // Inode numbers, masks, flags and order of the marks, as the kernel shows them.
  const int groups[] = {names, files, mounts, empty};
  for (int i = 0; i < 4; ++i)
    if (const std::string now = info_of(groups[i]); now != shown[i])
      fail("fdinfo was\n%s, is\n%s", shown[i].c_str(), now.c_str());
  MUST_BE(fcntl(names, F_GETFD), FD_CLOEXEC);
  MUST_BE(fcntl(files, F_GETFL) & O_NONBLOCK, 0);
  add(empty, 0, FAN_CLOSE_WRITE, file);
  touch(file);
  MUST_BE(take(empty).mask, FAN_CLOSE_WRITE);
  unlink(file.c_str());
  unlink(link.c_str());
  rmdir(folder.c_str());
  expect_childless();
  return passed();
}
