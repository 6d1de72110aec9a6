// Pipes in odd states: full, of odd sizes, made half non-blocking, opened again through /proc, with pages of a file and
// of another pipe in them.
#include <sys/uio.h>

#include "contract.h"

static std::string drain(int fd) {
  std::string text;
  char buffer[70000];
  MUST(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, n);
  MUST(errno == EAGAIN);
  return text;
}

static std::string pattern(size_t size, uint64_t seed) {
  std::string text(size, '\0');
  workload::fill(text.data(), size, seed);
  return text;
}

struct Pipe {
  int ends[2];
  std::string content;
  int reader() const { return ends[0]; }
  int writer() const { return ends[1]; }
};

static Pipe make() {
  Pipe p{};
  MUST(pipe(p.ends) == 0);
  return p;
}

static void add(Pipe& p, const std::string& text) {
  MUST_BE(write(p.writer(), text.data(), text.size()), text.size());
  p.content += text;
}

// Many buffers that are not full: a slot each, as a page is only continued by what fits into it.
static Pipe make_mixed() {
  Pipe p = make();
  for (int i = 0; i < 15; ++i) add(p, pattern(3000, 100 + i));
  char some[1000];
  MUST_BE(read(p.reader(), some, sizeof some), 1000);
  p.content.erase(0, 1000);
  MUST_BE(fcntl(p.writer(), F_SETPIPE_SZ, 4096), -1);
  MUST_BE(errno, EBUSY);
  return p;
}

// Pages of a file, pages that another pipe has too, pages of the program's memory.
static std::vector<Pipe> make_borrowed() {
  std::string path = workload::prefix + ".source", in_file = pattern(20'000, 3);
  workload::write_file(path, in_file);
  int file = open(path.c_str(), O_RDWR);
  loff_t from = 1234;
  Pipe spliced = make(), teed = make(), page = make();
  MUST_BE(splice(file, &from, spliced.writer(), nullptr, 10'000, 0), 10'000);
  spliced.content = in_file.substr(1234, 10'000);
  MUST_BE(tee(spliced.reader(), teed.writer(), 5'000, 0), 5'000);
  teed.content = in_file.substr(1234, 5'000);
  add(teed, "and more");
  static char gift[8192] __attribute__((aligned(4096)));
  workload::fill(gift, sizeof gift, 4);
  iovec vector{gift, sizeof gift};
  MUST_BE(vmsplice(page.writer(), &vector, 1, 0), static_cast<long>(sizeof gift));
  page.content = std::string(gift, sizeof gift);
  return {spliced, teed, page};
}

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  Pipe full = make(), small = make(), large = make(), again = make();
  MUST(fcntl(full.writer(), F_SETFL, O_NONBLOCK) == 0);  // one end only
  add(full, pattern(65536, 1));
  MUST(write(full.writer(), "x", 1) == -1 && errno == EAGAIN);
  MUST_BE(fcntl(small.writer(), F_SETPIPE_SZ, 5000), 8192);
  add(small, "small");
  int large_size = fcntl(large.writer(), F_SETPIPE_SZ, 1 << 20);
  MUST(large_size > 0 || errno == EPERM);
  add(large, pattern(large_size > 0 ? 700'001 : 100, 2));
  Pipe mixed = make_mixed();
  std::vector<Pipe> borrowed = make_borrowed();
  int more_reader = open(("/proc/self/fd/" + std::to_string(again.reader())).c_str(), O_RDONLY | O_NONBLOCK);
  int both = open(("/proc/self/fd/" + std::to_string(again.writer())).c_str(), O_RDWR);
  MUST(more_reader >= 0 && both >= 0);
  MUST_BE(write(both, "shared", 6), 6);

  workload::ready();
  workload::wait_for_end();

  MUST(fcntl(full.writer(), F_GETFL) & O_NONBLOCK);
  MUST(!(fcntl(full.reader(), F_GETFL) & O_NONBLOCK));
  MUST(write(full.writer(), "x", 1) == -1 && errno == EAGAIN);
  MUST_BE(fcntl(small.reader(), F_GETPIPE_SZ), 8192);
  if (large_size > 0) MUST_BE(fcntl(large.reader(), F_GETPIPE_SZ), large_size);
  for (const Pipe* p : {&full, &small, &large, &mixed}) MUST(drain(p->reader()) == p->content);
  for (const Pipe& p : borrowed) MUST(drain(p.reader()) == p.content);
  char text[16];
  MUST_BE(read(again.reader(), text, 2), 2);
  MUST_BE(read(more_reader, text, 2), 2);
  MUST(memcmp(text, "ar", 2) == 0);
  close(again.writer());
  MUST_BE(write(both, "x", 1), 1);  // it is a writer too: no end of file yet
  MUST_BE(read(both, text, sizeof text), 3);
  close(both);
  MUST_BE(read(more_reader, text, sizeof text), 0);
  return workload::passed();
}
