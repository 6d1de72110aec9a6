// A file of O_TMPFILE can be given a name later; one that had a name and lost it never can.
#include "contract.h"

static int link_it(int fd, const std::string& name) {
  std::string door = "/proc/self/fd/" + std::to_string(fd);
  return linkat(AT_FDCWD, door.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW);
}

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string folder = workload::prefix.substr(0, workload::prefix.rfind('/'));
  int made = open(folder.c_str(), O_TMPFILE | O_RDWR, 0640);
  if (made < 0 && errno == EOPNOTSUPP) workload::skip("this file system has no O_TMPFILE");
  MUST(made >= 0);
  MUST_BE(write(made, "unnamed", 7), 7);
  int reopened = open(("/proc/self/fd/" + std::to_string(made)).c_str(), O_RDONLY);
  MUST(reopened >= 0);
  MUST_BE(lseek(reopened, 2, SEEK_SET), 2);

  // Here the open file that had made it is closed.
  int closed = open(folder.c_str(), O_TMPFILE | O_RDWR | O_APPEND, 0600);
  int kept = open(("/proc/self/fd/" + std::to_string(closed)).c_str(), O_RDWR);
  MUST(kept >= 0);
  MUST_BE(write(kept, "second", 6), 6);
  close(closed);

  std::string lost_name = workload::prefix + ".lost";
  int lost = open(lost_name.c_str(), O_CREAT | O_RDWR, 0600);
  MUST(lost >= 0 && unlink(lost_name.c_str()) == 0);
  workload::ready();
  workload::wait_for_end();

  char text[16];
  MUST_BE(read(reopened, text, sizeof text), 5);
  MUST(memcmp(text, "named", 5) == 0);
  MUST_BE(write(made, "!", 1), 1);
  MUST_BE(link_it(lost, lost_name), -1);
  MUST_BE(errno, ENOENT);
  MUST(link_it(made, workload::prefix + ".named") == 0);
  MUST(workload::read_file(workload::prefix + ".named") == "unnamed!");
  struct stat status {};
  MUST(fstat(made, &status) == 0);
  MUST_BE(status.st_mode & 0777, 0640);
  MUST_BE(status.st_nlink, 1);
  MUST(link_it(kept, workload::prefix + ".kept") == 0);
  MUST(workload::read_file(workload::prefix + ".kept") == "second");
  return workload::passed();
}
