// A program whose every page tells whether it is right: `lazy-pages FOLDER MIB [ROUNDS]`. It fills its memory, says
// READY, and waits for the file "go" in the folder. Then it discards, moves, cuts, protects and rewrites stretches of
// its memory and makes children that look at it, ROUNDS times, looks at every page and says RIGHT, or what is WRONG.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr size_t kPage = 4096, kBlockPages = 64;  // a block is what is moved as a whole

uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

struct Block {
  char* at = nullptr;
  uint64_t seed[kBlockPages];  // of the content; 0: zeros
};

void write_page(char* page, uint64_t seed) {
  auto* words = reinterpret_cast<uint64_t*>(page);
  for (size_t i = 0; i < kPage / 8; ++i) words[i] = mixed(seed + i);
}

bool is_right(const char* page, uint64_t seed) {
  const auto* words = reinterpret_cast<const uint64_t*>(page);
  for (size_t i = 0; i < kPage / 8; ++i)
    if (words[i] != (seed ? mixed(seed + i) : 0)) return false;
  return true;
}

std::vector<Block> blocks;
uint64_t state = 1;
uint64_t chance(uint64_t below) {
  return mixed(++state) % below;
}

std::string wrong_page(size_t b, size_t p) {
  const Block& block = blocks[b];
  if (is_right(block.at + p * kPage, block.seed[p])) return {};
  char text[200];
  std::snprintf(text, sizeof text, "WRONG block %zu page %zu at %p: %lx, wanted seed %lx", b, p,
                static_cast<void*>(block.at + p * kPage), *reinterpret_cast<uint64_t*>(block.at + p * kPage),
                block.seed[p]);
  return text;
}

std::string look_at_all() {
  for (size_t b = 0; b < blocks.size(); ++b)
    for (size_t p = 0; p < kBlockPages; ++p)
      if (auto text = wrong_page(b, p); !text.empty()) return text;
  return {};
}

void say(const std::string& text) {
  const std::string line = text + "\n";
  if (write(1, line.data(), line.size()) < 0) _exit(3);
}

void discard(size_t b) {
  const size_t p = chance(kBlockPages), n = 1 + chance(kBlockPages - p);
  madvise(blocks[b].at + p * kPage, n * kPage, MADV_DONTNEED);
  for (size_t i = p; i < p + n; ++i) blocks[b].seed[i] = 0;
}

void move(size_t b) {
  // Somewhere else, or where the kernel likes.
  void* to = mremap(blocks[b].at, kBlockPages * kPage, kBlockPages * kPage, MREMAP_MAYMOVE | 4 /* DONTUNMAP */);
  if (to == MAP_FAILED) return;
  char* old = blocks[b].at;
  blocks[b].at = static_cast<char*>(to);
  if (!is_right(old + chance(kBlockPages) * kPage, 0)) say("WRONG: what was moved away is still there"), _exit(1);
  munmap(old, kBlockPages * kPage);
}

void swap_places(size_t a, size_t b) {
  if (a == b) return;
  void* rest = mmap(nullptr, kBlockPages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto to = [](void* from, void* place) {
    if (mremap(from, kBlockPages * kPage, kBlockPages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED)
      say("WRONG: mremap failed"), _exit(1);
  };
  to(blocks[a].at, rest), to(blocks[b].at, blocks[a].at), to(rest, blocks[b].at);
  std::swap(blocks[a].seed, blocks[b].seed);
}

void make_new(size_t b) {
  munmap(blocks[b].at, kBlockPages * kPage);
  mmap(blocks[b].at, kBlockPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  std::memset(blocks[b].seed, 0, sizeof blocks[b].seed);
}

void rewrite(size_t b) {
  const size_t p = chance(kBlockPages);
  blocks[b].seed[p] = 1 + chance(1 << 30) * 1024;
  write_page(blocks[b].at + p * kPage, blocks[b].seed[p]);
}

void cut(size_t b) {
  mprotect(blocks[b].at + kPage, 3 * kPage, PROT_READ);
  for (size_t p = 0; p < 5; ++p)
    if (auto text = wrong_page(b, p); !text.empty()) say(text), _exit(1);
  mprotect(blocks[b].at + kPage, 3 * kPage, PROT_READ | PROT_WRITE);
}

// By a system call: the kernel itself meets the missing page.
void through_a_pipe(size_t b) {
  int ends[2];
  if (pipe(ends) != 0) return;
  const size_t p = chance(kBlockPages);
  std::vector<char> copy(kPage);
  if (write(ends[1], blocks[b].at + p * kPage, kPage) != static_cast<ssize_t>(kPage) ||
      read(ends[0], copy.data(), kPage) != static_cast<ssize_t>(kPage) || !is_right(copy.data(), blocks[b].seed[p]))
    say("WRONG: through a pipe"), _exit(1);
  close(ends[0]), close(ends[1]);
}

void be_forked(std::vector<pid_t>& children) {
  const pid_t pid = fork();
  if (pid != 0) {
    if (pid > 0) children.push_back(pid);
    return;
  }
  for (int i = 0; i < 40; ++i) {
    const size_t b = chance(blocks.size());
    if (i % 8 == 3) discard(b);
    if (i % 8 == 5) move(b);
    if (auto text = wrong_page(b, chance(kBlockPages)); !text.empty()) say("child: " + text), _exit(1);
  }
  if (chance(4) == 0) execl("/bin/true", "true", static_cast<char*>(nullptr));
  if (chance(4) == 0)
    if (auto text = look_at_all(); !text.empty()) say("child: " + text), _exit(1);
  _exit(0);
}

bool collect(std::vector<pid_t>& children) {
  for (const pid_t child : children) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) return false;
  }
  children.clear();
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const size_t count = std::strtoul(argv[2], nullptr, 10) * (1 << 20) / (kBlockPages * kPage);
  const size_t rounds = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 0;
  auto* memory = static_cast<char*>(
      mmap(nullptr, count * kBlockPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (memory == MAP_FAILED) return 2;
  if (argc > 4) madvise(memory, count * kBlockPages * kPage, MADV_HUGEPAGE);
  blocks.resize(count);
  for (size_t b = 0; b < count; ++b) {
    blocks[b].at = memory + b * kBlockPages * kPage;
    for (size_t p = 0; p < kBlockPages; ++p) {
      // Holes, zeros, what comes often, and what comes once.
      const uint64_t kind = mixed(b * kBlockPages + p) % 16;
      blocks[b].seed[p] = kind < 2 ? 0 : kind == 2 ? 1024 : (1 + b * kBlockPages + p) * 1024;
      if (kind == 1) blocks[b].at[p * kPage] = 1, blocks[b].at[p * kPage] = 0;
      if (kind > 1) write_page(blocks[b].at + p * kPage, blocks[b].seed[p]);
    }
  }
  const std::string go = std::string(argv[1]) + "/go";
  say("READY");
  while (access(go.c_str(), F_OK) != 0) usleep(200);
  say("GOING");
  std::vector<pid_t> children;
  for (size_t i = 0; i < rounds; ++i) {
    const size_t b = chance(count);
    switch (chance(9)) {
      case 0:
        discard(b);
        break;
      case 1:
        move(b);
        break;
      case 2:
        swap_places(b, chance(count));
        break;
      case 3:
        make_new(b);
        break;
      case 4:
        rewrite(b);
        break;
      case 5:
        cut(b);
        break;
      case 6:
        through_a_pipe(b);
        break;
      case 7:
        if (chance(8) == 0) be_forked(children);
        break;
      default:
        if (auto text = wrong_page(b, chance(kBlockPages)); !text.empty()) return say(text), 1;
    }
  }
  if (auto text = look_at_all(); !text.empty()) return say(text), 1;
  if (!collect(children)) return say("WRONG: a child"), 1;
  say("RIGHT");
  while (true) pause();
}
