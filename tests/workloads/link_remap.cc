// Files whose own name is gone while they have another one: in the same folder, and elsewhere (--link-remap).
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const std::string base = workload::prefix + ".";
  const std::string elsewhere = base + "elsewhere/";
  MUST(mkdir(elsewhere.c_str(), 0777) == 0);

  int near = open((base + "near").c_str(), O_CREAT | O_RDWR, 0600);
  MUST(near >= 0);
  MUST_BE(write(near, "near", 4), 4);
  MUST(link((base + "near").c_str(), (base + "other").c_str()) == 0 && unlink((base + "near").c_str()) == 0);

  int far = open((base + "far").c_str(), O_CREAT | O_RDWR, 0600);
  MUST(far >= 0);
  MUST_BE(write(far, "far away", 8), 8);
  MUST(link((base + "far").c_str(), (elsewhere + "far").c_str()) == 0 && unlink((base + "far").c_str()) == 0);
  MUST_BE(lseek(far, 4, SEEK_SET), 4);

  // Replaced by another file, which must stay as it is.
  int replaced = open((base + "data").c_str(), O_CREAT | O_RDWR, 0600);
  MUST(replaced >= 0);
  MUST_BE(write(replaced, "old", 3), 3);
  MUST(link((base + "data").c_str(), (elsewhere + "data").c_str()) == 0);
  workload::write_file(base + "new", "new");
  MUST(rename((base + "new").c_str(), (base + "data").c_str()) == 0);

  // The temporary links are beside the old names, which change with them in /proc.
  workload::ready("dump --link-remap\nloose fds\nleaves .mini-criu-remap.\n");
  workload::wait_for_end();

  struct stat one {
  }, other{};
  MUST(fstat(near, &one) == 0 && stat((base + "other").c_str(), &other) == 0);
  MUST_BE(one.st_ino, other.st_ino);
  MUST(fstat(far, &one) == 0 && stat((elsewhere + "far").c_str(), &other) == 0);
  MUST_BE(one.st_ino, other.st_ino);
  char text[8];
  MUST_BE(read(far, text, sizeof text), 4);
  MUST(memcmp(text, "away", 4) == 0);
  MUST(fstat(replaced, &one) == 0 && stat((elsewhere + "data").c_str(), &other) == 0);
  MUST_BE(one.st_ino, other.st_ino);
  MUST(workload::read_file(base + "data") == "new");
  MUST_BE(write(replaced, "er", 2), 2);
  MUST(workload::read_file(elsewhere + "data") == "older");
  return workload::passed();
}
