// Flags of open files: what open(2) was given, and what fcntl(2) has set since.
#include "contract.h"

#ifndef F_GET_RW_HINT
#define F_GET_RW_HINT 1035
#define F_SET_RW_HINT 1036
#endif

struct Item {
  int flags, later;  // later: by F_SETFL
  int fd = -1, seen = 0;
};

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string path = workload::prefix + ".file";
  workload::write_file(path, std::string(8192, 'x'));
  Item items[] = {{O_RDWR | O_APPEND, 0},    {O_RDWR | O_SYNC, 0},         {O_WRONLY | O_DSYNC, 0},
                  {O_RDONLY | O_NOATIME, 0}, {O_RDWR | O_DIRECT, 0},       {O_RDONLY | O_NONBLOCK, 0},
                  {O_RDWR, O_APPEND},        {O_RDWR | O_APPEND, O_ASYNC}, {O_RDONLY, O_NONBLOCK},
                  {O_RDONLY | O_CLOEXEC, 0}, {O_RDONLY | O_NOFOLLOW, 0}};
  for (Item& item : items) {
    item.fd = open(path.c_str(), item.flags);
    if (item.fd < 0 && errno == EINVAL && (item.flags & O_DIRECT)) continue;
    MUST(item.fd >= 0);
    if (item.later) MUST(fcntl(item.fd, F_SETFL, item.later) == 0);
    item.seen = fcntl(item.fd, F_GETFL);
  }
  uint64_t hint = 3;  // RWH_WRITE_LIFE_MEDIUM
  bool has_hint = fcntl(items[0].fd, F_SET_RW_HINT, &hint) == 0;
  std::string gone = workload::prefix + ".gone";
  int deleted = open(gone.c_str(), O_CREAT | O_RDWR | O_APPEND | O_NOATIME, 0600);
  MUST(deleted >= 0 && unlink(gone.c_str()) == 0);
  uint64_t hint_deleted = 5;
  if (has_hint) MUST(fcntl(deleted, F_SET_RW_HINT, &hint_deleted) == 0);
  workload::ready();
  workload::wait_for_end();
  for (Item& item : items) {
    if (item.fd < 0) continue;
    MUST_BE(fcntl(item.fd, F_GETFL), item.seen);
    MUST_BE(fcntl(item.fd, F_GETFD), item.flags & O_CLOEXEC ? FD_CLOEXEC : 0);
  }
  MUST_BE(write(items[0].fd, "end", 3), 3);
  MUST_BE(lseek(items[0].fd, 0, SEEK_CUR), 8195);  // it was appended
  if (has_hint) {
    MUST(fcntl(items[0].fd, F_GET_RW_HINT, &hint) == 0);
    MUST_BE(hint, 3);
    MUST(fcntl(deleted, F_GET_RW_HINT, &hint) == 0);
    MUST_BE(hint, 5);
  }
  return workload::passed();
}
