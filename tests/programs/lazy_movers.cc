// Threads that move their memory about at once, without a lock: `lazy-movers FOLDER MIB ROUNDS THREADS`. Each page
// holds its own number. A thread moves, swaps, cuts, discards and unmaps its own blocks only, so that what each of them
// holds is known, but where the kernel puts them another thread's may have been a moment ago. Children look at what
// their parent had. Says READY, waits for the file "go", and in the end RIGHT, or what is WRONG.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096, kBlockPages = 24, kBlock = kPage * kBlockPages, kNumbered = 64;
constexpr int kDontUnmap = 4;  // MREMAP_DONTUNMAP

void say(const std::string& text) {
  const std::string line = text + "\n";
  if (write(1, line.data(), line.size()) < 0) _exit(3);
}

[[noreturn]] void wrong(const std::string& text) {
  say("WRONG: " + text);
  _exit(1);
}

struct Block {
  char* at = nullptr;
  uint64_t number[kBlockPages];  // 0: zeros
};

void write_page(char* page, uint64_t number) {
  auto* words = reinterpret_cast<uint64_t*>(page);
  for (size_t i = 0; i < kPage / 8; i += kNumbered) words[i] = number;
}

class Mover {
 public:
  Mover(size_t index, size_t threads, std::vector<Block>& all) : state_(index * 77777 + static_cast<size_t>(getpid())) {
    for (size_t i = index; i < all.size(); i += threads) blocks_.push_back(&all[i]);
  }

  void run(size_t rounds) {
    for (size_t i = 0; i < rounds; ++i) turn();
    for (Block* block : blocks_)
      for (size_t p = 0; p < kBlockPages; ++p) look(*block, p);
  }

 private:
  uint64_t chance(uint64_t below) {
    state_ = state_ * 6364136223846793005 + 1442695040888963407;
    return (state_ >> 33) % below;
  }
  Block& any() { return *blocks_[chance(blocks_.size())]; }

  void look(const Block& block, size_t p) {
    const auto* words = reinterpret_cast<const uint64_t*>(block.at + p * kPage);
    for (size_t i = 0; i < kPage / 8; i += kNumbered)
      if (words[i] != block.number[p]) {
        char text[200];
        std::snprintf(text, sizeof text, "%s at %p page %zu has %lu, wanted %lu", is_child_ ? "child" : "block",
                      static_cast<void*>(block.at), p, words[i], block.number[p]);
        wrong(text);
      }
  }

  static void* moved(void* from, size_t bytes, size_t to_bytes, int flags, void* to = nullptr) {
    void* at = mremap(from, bytes, to_bytes, MREMAP_MAYMOVE | flags, to);
    if (at == MAP_FAILED) wrong("mremap failed");
    return at;
  }

  void move(Block& block) {
    char* old = block.at;
    block.at = static_cast<char*>(moved(old, kBlock, kBlock, kDontUnmap));
    munmap(old, kBlock);
  }
  void grow(Block& block) {  // as realloc does, and back again
    block.at = static_cast<char*>(moved(block.at, kBlock, kBlock * 2, 0));
    if (chance(2) != 0) look(block, chance(kBlockPages));
    moved(block.at, kBlock * 2, kBlock, 0);
  }
  void swap(Block& a, Block& b) {
    if (&a == &b) return;
    // Their places are kept meanwhile: another thread's block could come there.
    void* rest = mmap(nullptr, kBlock, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    moved(a.at, kBlock, kBlock, MREMAP_FIXED | kDontUnmap, rest);
    moved(b.at, kBlock, kBlock, MREMAP_FIXED | kDontUnmap, a.at);
    moved(rest, kBlock, kBlock, MREMAP_FIXED, b.at);
    std::swap(a.number, b.number);
  }
  void make_new(Block& block) {
    munmap(block.at, kBlock);
    block.at = static_cast<char*>(mmap(nullptr, kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (uint64_t& number : block.number) number = 0;
  }
  void move_over(Block& a, Block& b) {  // b is gone, and new elsewhere
    if (&a == &b) return;
    moved(a.at, kBlock, kBlock, MREMAP_FIXED, b.at);
    std::swap(a.at, b.at);
    b.at = static_cast<char*>(mmap(nullptr, kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (uint64_t& number : b.number) number = 0;
  }
  void discard(Block& block) {
    const size_t p = chance(kBlockPages), n = 1 + chance(kBlockPages - p);
    madvise(block.at + p * kPage, n * kPage, MADV_DONTNEED);
    for (size_t i = p; i < p + n; ++i) block.number[i] = 0;
  }
  void fork_one() {
    const pid_t pid = fork();
    if (pid < 0) return;
    if (pid == 0) {
      is_child_ = true;
      for (int i = 0; i < 20; ++i) {
        Block& block = any();
        if (i == 7) move(block);
        if (i == 9) discard(block);
        look(block, chance(kBlockPages));
      }
      _exit(0);
    }
    int status = 0;
    const bool is_there = waitpid(pid, &status, 0) == pid;
    if (is_there && WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) return say("a child: SIGBUS");
    if (!is_there || status != 0) wrong("a child ended with " + std::to_string(status));
  }

  void turn() {
    Block& block = any();
    switch (chance(16)) {
      case 0:
        return discard(block);
      case 1:
        return chance(8) == 0 ? make_new(block) : grow(block);
      case 2:
      case 3:
      case 4:
      case 5:
        return move(block);
      case 6:
      case 7:
      case 8:
        return swap(block, any());
      case 9:
        return chance(8) == 0 ? move_over(block, any()) : grow(block);
      case 10:
        return chance(16) == 0 ? fork_one() : grow(block);
      default:
        look(block, chance(kBlockPages));
    }
  }

  std::vector<Block*> blocks_;
  uint64_t state_;
  bool is_child_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const size_t count = std::strtoul(argv[2], nullptr, 10) * (1 << 20) / kBlock;
  const size_t rounds = std::strtoul(argv[3], nullptr, 10), threads = std::strtoul(argv[4], nullptr, 10);
  auto* memory =
      static_cast<char*>(mmap(nullptr, count * kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (memory == MAP_FAILED) return 2;
  std::vector<Block> blocks(count);
  for (size_t b = 0; b < count; ++b) {
    blocks[b].at = memory + b * kBlock;
    for (size_t p = 0; p < kBlockPages; ++p) {
      blocks[b].number[p] = (b * kBlockPages + p) % 16 == 3 ? 0 : 1 + b * kBlockPages + p;
      if (blocks[b].number[p] != 0) write_page(blocks[b].at + p * kPage, blocks[b].number[p]);
    }
  }
  const std::string go = std::string(argv[1]) + "/go";
  std::atomic<bool> goes{false};
  std::vector<std::thread> movers;
  for (size_t i = 0; i < threads; ++i)
    movers.emplace_back([&, i] {
      Mover mover(i, threads, blocks);
      goes.wait(false);
      mover.run(rounds);
    });
  say("READY");
  while (access(go.c_str(), F_OK) != 0) usleep(200);
  say("GOING");
  goes = true;
  goes.notify_all();
  for (auto& mover : movers) mover.join();
  say("RIGHT");
  while (true) pause();
}
