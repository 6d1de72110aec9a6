// Pipes inside the program: with contents, full, grown, non-blocking, their ends duplicated.
#include "contract.h"

namespace {

struct Pipe {
  int read_end, write_end;
};

Pipe make(int flags = 0) {
  int ends[2];
  MUST(pipe2(ends, flags) == 0);
  return {ends[0], ends[1]};
}

void put(const Pipe& pipe, size_t size, uint64_t seed) {
  std::vector<unsigned char> bytes(size);
  workload::fill(bytes.data(), size, seed);
  MUST_BE(write(pipe.write_end, bytes.data(), size), size);
}

void get(const Pipe& pipe, size_t size, uint64_t seed) {
  std::vector<unsigned char> bytes(size);
  for (size_t done = 0; done < size;) {
    ssize_t got = read(pipe.read_end, bytes.data() + done, size - done);
    if (got <= 0) workload::fail("only %zu of %zu bytes are in the pipe", done, size);
    done += got;
  }
  MUST_BE(workload::differs(bytes.data(), size, seed), -1);
}

bool empty(const Pipe& pipe) {
  fcntl(pipe.read_end, F_SETFL, O_NONBLOCK);
  char byte;
  return read(pipe.read_end, &byte, 1) == -1 && errno == EAGAIN;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  Pipe plain = make(), vacant = make(O_CLOEXEC), full = make(O_NONBLOCK), grown = make(), shrunk = make();
  put(plain, 1000, 111);
  put(plain, 5000, 112);
  put(full, 65536, 113);
  char byte = 0;
  MUST(write(full.write_end, &byte, 1) == -1 && errno == EAGAIN);
  MUST_BE(fcntl(grown.write_end, F_SETPIPE_SZ, 1 << 19), 1 << 19);
  put(grown, 400'000, 114);
  MUST_BE(fcntl(shrunk.write_end, F_SETPIPE_SZ, 4096), 4096);
  put(shrunk, 4000, 115);
  int copy = dup(plain.write_end);
  MUST(copy >= 0);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(fcntl(plain.read_end, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
  MUST_BE(fcntl(plain.write_end, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY);
  MUST_BE(fcntl(full.write_end, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  MUST_BE(fcntl(vacant.read_end, F_GETFD), FD_CLOEXEC);
  MUST_BE(fcntl(plain.read_end, F_GETPIPE_SZ), 65536);
  MUST_BE(fcntl(grown.read_end, F_GETPIPE_SZ), 1 << 19);
  MUST_BE(fcntl(shrunk.read_end, F_GETPIPE_SZ), 4096);
  MUST(write(full.write_end, &byte, 1) == -1 && errno == EAGAIN);
  get(plain, 1000, 111);
  get(plain, 5000, 112);
  get(full, 65536, 113);
  get(grown, 400'000, 114);
  get(shrunk, 4000, 115);
  MUST(empty(plain) && empty(vacant) && empty(full) && empty(grown) && empty(shrunk));
  close(plain.write_end);
  MUST_BE(write(copy, "dup", 3), 3);  // the duplicate keeps the pipe alive
  char word[3];
  MUST_BE(read(plain.read_end, word, 3), 3);
  MUST(memcmp(word, "dup", 3) == 0);
  close(copy);
  MUST_BE(read(plain.read_end, word, 3), 0);
  return workload::passed();
}
