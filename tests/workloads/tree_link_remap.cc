// A file that parent and child share, and one that only the child has, both without their own names but with others
// elsewhere: with --link-remap they are the same files again.
#include "family.h"

using namespace workload;

namespace {

// Its name is gone, another one lies in `folder`.
int open_renamed(const std::string& path, const std::string& folder) {
  int fd = open(path.c_str(), O_RDWR | O_CREAT, 0600);
  if (fd < 0 || write(fd, "content", 7) != 7) fail("write: %s", strerror(errno));
  const std::string other = folder + path.substr(path.rfind('/'));
  if (link(path.c_str(), other.c_str()) != 0 || unlink(path.c_str()) != 0) fail("link: %s", strerror(errno));
  return fd;
}

bool is_file(int fd, const std::string& path) {
  struct stat one {
  }, two{};
  return fstat(fd, &one) == 0 && stat(path.c_str(), &two) == 0 && one.st_ino == two.st_ino;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const std::string folder = prefix + ".elsewhere", both = prefix + ".both", own = prefix + ".own";
  const auto elsewhere = [&](const std::string& path) { return folder + path.substr(path.rfind('/')); };
  MUST_BE(mkdir(folder.c_str(), 0700), 0);
  int shared = open_renamed(both, folder);
  pid_t child = fork_child([&] {
    int alone = open_renamed(own, folder);
    nursery.grown();
    wait_for_end();
    if (!is_file(shared, elsewhere(both)) || !is_file(alone, elsewhere(own))) _exit(11);
    if (write(shared, "!", 1) != 1 || lseek(alone, 0, SEEK_CUR) != 7) _exit(12);
    _exit(10);
  });
  nursery.expect(1);
  ready("dump --link-remap\nloose fds\nleaves .mini-criu-remap.\n");
  wait_for_end();

  MUST(is_file(shared, elsewhere(both)));
  expect_end(child, 10);
  MUST_BE(lseek(shared, 0, SEEK_CUR), 8);
  MUST(read_file(elsewhere(both)) == "content!");
  MUST(read_file(elsewhere(own)) == "content");
  expect_childless();
  return passed();
}
