// Sockets whose files are not where their names say.
#include <sys/stat.h>

#include "sockets.h"

using namespace workload;

namespace {

// The file is not where the name says.
struct Files {
  std::string folder = prefix + ".d", renamed = prefix + ".r";
  int absolute = -1, relative = -1, moved = -1;

  Files() {
    absolute = unix_bound(SOCK_STREAM, renamed + ".new");
    MUST(rename((renamed + ".new").c_str(), renamed.c_str()) == 0);
    MUST(mkdir(folder.c_str(), 0755) == 0 && chdir(folder.c_str()) == 0);
    relative = unix_bound(SOCK_STREAM, "s");
    moved = unix_bound(SOCK_STREAM, "t.new");
    MUST(rename("t.new", "t") == 0 && chmod("t", 0640) == 0);
    MUST(chdir("/") == 0);
    for (int fd : {absolute, relative, moved}) MUST(listen(fd, 5) == 0);
  }

  void check() const {
    MUST(unix_name(absolute) == renamed + ".new" && unix_name(relative) == "s" && unix_name(moved) == "t.new");
    MUST(access((renamed + ".new").c_str(), F_OK) != 0 && access((folder + "/t.new").c_str(), F_OK) != 0);
    for (const std::string& path : {renamed, folder + "/s", folder + "/t"}) {
      close(unix_connected(SOCK_STREAM, path));
      struct stat status {};
      MUST(stat(path.c_str(), &status) == 0);
      if (path.back() == 't') MUST_BE(status.st_mode & 07777, 0640);
      MUST(unlink(path.c_str()) == 0);
    }
    MUST(rmdir(folder.c_str()) == 0);
  }
};

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const Files files;
  ready();
  wait_for_end();
  files.check();
  return passed();
}
