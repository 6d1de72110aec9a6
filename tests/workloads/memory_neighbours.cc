// Mappings that touch each other and differ in nothing, but are several lines of /proc/PID/maps because of how they
// came about; and pieces that became one. The driver compares the lines; here it is their content that must be right,
// and that the kernel goes on treating them as before.
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kPiece = 3 * kPage;

unsigned char* reserve(size_t pages) {  // with a free page at either side
  void* at = mmap(nullptr, (pages + 2) * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  MUST(at != MAP_FAILED);
  MUST(munmap(at, (pages + 2) * kPage) == 0);
  return static_cast<unsigned char*>(at) + kPage;
}

void map_at(unsigned char* at, size_t size, int prot, int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1,
            off_t offset = 0) {
  MUST(mmap(at, size, prot, flags | MAP_FIXED, fd, offset) == at);
}

size_t lines(const unsigned char* start, const unsigned char* end) {
  size_t count = 0;
  const std::string text = workload::read_file("/proc/self/maps");
  for (const char* line = text.c_str(); *line; line = strchr(line, '\n') + 1) {
    unsigned long from = 0, to = 0;
    MUST(sscanf(line, "%lx-%lx", &from, &to) == 2);
    if (from < reinterpret_cast<unsigned long>(end) && to > reinterpret_cast<unsigned long>(start)) ++count;
  }
  return count;
}

struct Area {
  unsigned char* start;
  size_t pieces, lines;
  int prot;
  bool has_content;
};
std::vector<Area> areas;

// Pieces that were touched while they differed (each has an anon_vma of its own) and then made equal. `keep`: with
// their pages; else only that they were touched once keeps them apart.
void touched_apart(size_t pieces, int prot, bool keep) {
  unsigned char* start = reserve(pieces * 3);
  for (size_t i = 0; i < pieces; ++i) {
    unsigned char* at = start + i * kPiece;
    map_at(at, kPiece, PROT_READ | PROT_WRITE);
    if (i % 2) MUST(madvise(at, kPiece, MADV_DONTFORK) == 0);
  }
  for (size_t i = 0; i < pieces; ++i) workload::fill(start + i * kPiece, kPiece, 100 + i);
  for (size_t i = 1; i < pieces; i += 2) MUST(madvise(start + i * kPiece, kPiece, MADV_DOFORK) == 0);
  if (!keep) MUST(madvise(start, pieces * kPiece, MADV_DONTNEED) == 0);
  for (size_t i = 0; i < pieces; ++i) MUST(mprotect(start + i * kPiece, kPiece, prot) == 0);
  MUST_BE(lines(start, start + pieces * kPiece), pieces);
  areas.push_back({start, pieces, pieces, prot, keep});
}

// Touched elsewhere and moved: its place in the object is still the old one.
void moved() {
  // From the end to the start, so that none continues the one before.
  auto* pieces = static_cast<unsigned char*>(
      mmap(nullptr, 3 * kPiece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(pieces != MAP_FAILED);
  unsigned char* start = reserve(9);
  for (size_t i = 0; i < 3; ++i) {
    unsigned char* from = pieces + (2 - i) * kPiece;
    workload::fill(from, kPiece, 100 + i);
    MUST(mremap(from, kPiece, kPiece, MREMAP_MAYMOVE | MREMAP_FIXED, start + i * kPiece) == start + i * kPiece);
  }
  MUST_BE(lines(start, start + 3 * kPiece), 3);
  areas.push_back({start, 3, 3, PROT_READ | PROT_WRITE, true});
}

// The other way round: made by three calls, one mapping since.
void joined() {
  unsigned char* start = reserve(9);
  for (size_t i : {1, 0, 2}) map_at(start + i * kPiece, kPiece, PROT_READ | PROT_WRITE);
  for (size_t i = 0; i < 3; ++i) workload::fill(start + i * kPiece, kPiece, 100 + i);
  MUST_BE(lines(start, start + 3 * kPiece), 1);
  areas.push_back({start, 3, 1, PROT_READ | PROT_WRITE, true});
}

// Empty. The one that was written to once is accounted for, the others are not: no line is like its neighbour.
void accounted() {
  unsigned char* start = reserve(9);
  for (size_t i = 0; i < 3; ++i) {
    map_at(start + i * kPiece, kPiece, i == 1 ? PROT_READ | PROT_WRITE : PROT_READ);
    if (i == 1) {
      start[i * kPiece] = 1;
      MUST(madvise(start + i * kPiece, kPiece, MADV_DONTNEED) == 0);
    }
    MUST(mprotect(start + i * kPiece, kPiece, PROT_READ) == 0);
  }
  MUST_BE(lines(start, start + 3 * kPiece), 3);
  areas.push_back({start, 3, 3, PROT_READ, false});
}

// The same file opened several times, mapped piece by piece.
void opened_apart(const std::string& path, int sharing, int prot) {
  unsigned char* start = reserve(9);
  for (size_t i = 0; i < 3; ++i) {
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    MUST(fd >= 0);
    map_at(start + i * kPiece, kPiece, prot, sharing, fd, static_cast<off_t>(i * kPiece));
    close(fd);
  }
  MUST_BE(lines(start, start + 3 * kPiece), 3);
  areas.push_back({start, 3, 3, prot, true});
}

std::string make_file() {
  const std::string path = workload::prefix + ".file";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  MUST(fd >= 0);
  std::vector<unsigned char> bytes(kPiece);
  for (size_t i = 0; i < 3; ++i) {
    workload::fill(bytes.data(), kPiece, 100 + i);
    MUST_BE(write(fd, bytes.data(), kPiece), kPiece);
  }
  close(fd);
  return path;
}

void verify(const Area& area) {
  MUST_BE(lines(area.start, area.start + area.pieces * kPiece), area.lines);
  if (!(area.prot & PROT_READ)) MUST(mprotect(area.start, area.pieces * kPiece, PROT_READ) == 0);
  for (size_t i = 0; i < area.pieces; ++i) {
    const unsigned char* at = area.start + i * kPiece;
    MUST_BE(area.has_content ? workload::differs(at, kPiece, 100 + i) : workload::differs_from(at, kPiece, 0), -1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  for (int prot : {PROT_READ | PROT_WRITE, PROT_READ, static_cast<int>(PROT_NONE)})
    for (bool keep : {true, false}) touched_apart(prot == PROT_READ ? 5 : 2, prot, keep);
  moved();
  joined();
  accounted();
  const std::string path = make_file();
  opened_apart(path, MAP_SHARED, PROT_READ | PROT_WRITE);
  opened_apart(path, MAP_SHARED, PROT_READ);
  opened_apart(path, MAP_PRIVATE, PROT_READ);
  workload::ready();
  workload::wait_for_end();
  for (const Area& area : areas) verify(area);
  return workload::passed();
}
