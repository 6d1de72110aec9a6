// Regular files: position, access mode, O_APPEND, O_NONBLOCK, O_CLOEXEC, O_SYNC; what is read and written goes on
// there.
#include "contract.h"

namespace {
struct File {
  const char* name;
  int flags;
  off_t position;
  bool close_on_exec;
  int fd;
};
}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  File files[] = {{".read", O_RDONLY, 100, false, -1},
                  {".write", O_WRONLY, 200, true, -1},
                  {".both", O_RDWR, 4096, false, -1},
                  {".append", O_WRONLY | O_APPEND, 0, true, -1},
                  {".append.read", O_RDWR | O_APPEND, 50, false, -1},
                  {".nonblock", O_RDWR | O_NONBLOCK, 1, false, -1},
                  {".sync", O_RDWR | O_DSYNC, 0, false, -1},
                  {".noatime", O_RDONLY | O_NOATIME, 3000, true, -1},
                  {".beyond", O_RDWR, 1'000'000'000'000, false, -1},
                  {".empty", O_RDONLY, 0, false, -1},
                  {".path", O_PATH, 0, false, -1}};
  std::string content(10'000, 0);
  workload::fill(content.data(), content.size(), 101);
  for (auto& file : files) {
    std::string path = workload::prefix + file.name;
    workload::write_file(path, strcmp(file.name, ".empty") == 0 ? "" : content);
    file.fd = open(path.c_str(), file.flags | (file.close_on_exec ? O_CLOEXEC : 0));
    MUST(file.fd >= 0);
    if (file.position) MUST_BE(lseek(file.fd, file.position, SEEK_SET), file.position);
  }
  workload::ready();
  workload::wait_for_end();
  for (auto& file : files) {
    constexpr int kShown = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_NOATIME | O_PATH;
    MUST_BE(fcntl(file.fd, F_GETFL) & kShown, file.flags & kShown);
    MUST_BE(fcntl(file.fd, F_GETFD), file.close_on_exec ? FD_CLOEXEC : 0);
    if (file.flags & O_PATH) continue;
    MUST_BE(lseek(file.fd, 0, SEEK_CUR), file.position);
  }
  char byte = 0;
  MUST_BE(read(files[0].fd, &byte, 1), 1);
  MUST_BE(byte, content[100]);
  MUST_BE(read(files[1].fd, &byte, 1), -1);
  MUST_BE(write(files[1].fd, "new", 3), 3);
  MUST_BE(lseek(files[1].fd, 0, SEEK_CUR), 203);
  MUST_BE(write(files[3].fd, "end", 3), 3);
  MUST_BE(lseek(files[3].fd, 0, SEEK_CUR), 10'003);
  MUST_BE(read(files[4].fd, &byte, 1), 1);
  MUST_BE(byte, content[50]);
  MUST_BE(read(files[8].fd, &byte, 1), 0);
  MUST_BE(read(files[9].fd, &byte, 1), 0);
  MUST_BE(write(files[0].fd, "no", 2), -1);
  for (auto& file : files) {
    std::string path = workload::prefix + file.name;
    std::string now = workload::read_file(path);
    std::string expected = file.fd == files[9].fd ? "" : content;
    if (file.fd == files[1].fd) expected.replace(200, 3, "new");
    if (file.fd == files[3].fd) expected += "end";
    if (now != expected) workload::fail("%s has other content (%zu bytes)", file.name, now.size());
    unlink(path.c_str());
  }
  return workload::passed();
}
