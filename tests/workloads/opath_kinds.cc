// O_PATH descriptors of everything that a file system holds, with and without a name.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "contract.h"

static std::string folder;

static int open_path(const std::string& name, int more = 0) {
  int fd = open((folder + name).c_str(), O_PATH | more);
  MUST(fd >= 0);
  return fd;
}

static std::string link_of(int fd) {
  char text[4096];
  ssize_t n = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), text, sizeof text);
  MUST(n > 0);
  return std::string(text, n);
}

static std::string target_of(int fd) {
  char text[256];
  ssize_t n = readlinkat(fd, "", text, sizeof text);
  MUST(n >= 0);
  return std::string(text, n);
}

static void make_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  MUST(path.size() < sizeof address.sun_path);
  strcpy(address.sun_path, path.c_str());
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  MUST(fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  close(fd);
}

struct Item {
  const char* name;
  mode_t type;
  int flags;
  int fd;
  struct stat status;
};

static void make(const Item& item) {
  std::string path = folder + item.name;
  if (S_ISREG(item.type)) workload::write_file(path, "content");
  if (S_ISDIR(item.type)) MUST(mkdir(path.c_str(), 0710) == 0);
  if (S_ISLNK(item.type)) MUST(symlink("/nowhere/at all", path.c_str()) == 0);
  if (S_ISFIFO(item.type)) MUST(mkfifo(path.c_str(), 0620) == 0);
  if (S_ISSOCK(item.type)) make_socket(path);
  if (S_ISCHR(item.type) && mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0)
    workload::skip("device nodes cannot be made here");
}

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  folder = workload::prefix + ".items/";
  MUST(mkdir(folder.c_str(), 0777) == 0);
  Item items[] = {
      {"file", S_IFREG, 0, -1, {}}, {"folder", S_IFDIR, O_DIRECTORY, -1, {}}, {"link", S_IFLNK, O_NOFOLLOW, -1, {}},
      {"fifo", S_IFIFO, 0, -1, {}}, {"socket", S_IFSOCK, 0, -1, {}},          {"device", S_IFCHR, O_CLOEXEC, -1, {}},
  };
  Item deleted[] = {
      {"gone-file", S_IFREG, 0, -1, {}},          {"gone-folder", S_IFDIR, 0, -1, {}},
      {"gone-link", S_IFLNK, O_NOFOLLOW, -1, {}}, {"gone-fifo", S_IFIFO, 0, -1, {}},
      {"gone-socket", S_IFSOCK, 0, -1, {}},       {"gone-device", S_IFCHR, 0, -1, {}},
  };
  for (Item& item : items) {
    make(item);
    item.fd = open_path(item.name, item.flags);
    MUST(fstat(item.fd, &item.status) == 0);
  }
  for (Item& item : deleted) {
    make(item);
    item.fd = open_path(item.name, item.flags);
    MUST(unlinkat(AT_FDCWD, (folder + item.name).c_str(), S_ISDIR(item.type) ? AT_REMOVEDIR : 0) == 0);
    MUST(fstat(item.fd, &item.status) == 0);
  }
  std::string door = "/proc/self/fd/" + std::to_string(items[2].fd);
  int again = open(door.c_str(), O_PATH);  // the link itself, without O_NOFOLLOW
  MUST(again >= 0);
  workload::ready();
  workload::wait_for_end();
  for (Item& item : items) {
    struct stat now {};
    MUST(fstat(item.fd, &now) == 0);
    MUST_BE(now.st_ino, item.status.st_ino);
    MUST(link_of(item.fd) == folder + item.name);
    MUST((fcntl(item.fd, F_GETFL) & O_PATH) != 0);
    char byte;
    MUST(read(item.fd, &byte, 1) == -1 && errno == EBADF);
  }
  for (Item& item : deleted) {
    struct stat now {};
    MUST(fstat(item.fd, &now) == 0);
    MUST_BE(now.st_mode, item.status.st_mode);
    MUST_BE(now.st_nlink, item.status.st_nlink);
    MUST_BE(now.st_rdev, item.status.st_rdev);
    MUST_BE(now.st_size, item.status.st_size);
    MUST(link_of(item.fd) == folder + item.name + " (deleted)");
  }
  MUST(target_of(items[2].fd) == "/nowhere/at all");
  MUST(target_of(again) == "/nowhere/at all");
  MUST(target_of(deleted[2].fd) == "/nowhere/at all");
  int file = open(("/proc/self/fd/" + std::to_string(deleted[0].fd)).c_str(), O_RDONLY);
  char text[16];
  MUST_BE(read(file, text, sizeof text), 7);
  MUST(memcmp(text, "content", 7) == 0);
  MUST_BE(mkdirat(deleted[1].fd, "inside", 0700), -1);
  MUST_BE(errno, ENOENT);
  return workload::passed();
}
