// Which pages parent and child have in common, asked of the kernel; and out of which mapping a child's has come.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "core/mem/inheritance.h"

namespace mcr::mem {
namespace {

using image::Vma;

constexpr uint64_t kPage = 4096;

Vma private_mapping(uint64_t start, uint64_t end) {
  Vma vma;
  vma.set_start(start), vma.set_end(end), vma.set_prot(PROT_READ | PROT_WRITE);
  for (const char* flag : {"rd", "wr", "mr", "mw", "me", "ac"}) vma.add_vm_flags(flag);
  return vma;
}

TEST(MemInheritance, AMappingComesOutOfOneThatIsLikeIt) {
  const auto origin = [](const std::function<void(Vma&)>& change) {
    const std::vector<Vma> parents{private_mapping(0x1000, 0x3000), private_mapping(0x8000, 0x10000)};
    Vma child = private_mapping(0x9000, 0xb000);
    change(child);
    return find_origin(child, parents);
  };
  EXPECT_EQ(origin([](Vma&) {}), 1u);
  EXPECT_EQ(origin([](Vma& child) { child.set_start(0x8000), child.set_end(0x10000); }), 1u);
  EXPECT_EQ(origin([](Vma& child) { child.add_vm_flags("lo"), child.add_vm_flags("dd"); }), 1u);
  EXPECT_EQ(origin([](Vma& child) { child.set_end(0x11000); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.set_start(0x7000); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.set_start(0x4000), child.set_end(0x5000); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.set_start(0x20000), child.set_end(0x21000); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.set_prot(PROT_READ); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.set_name("[anon:other]"); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.add_vm_flags("hg"); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.set_protection_key(1); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.mutable_policy()->set_mode(2); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.set_huge_page_shift(21); }), kNoVma);
  EXPECT_EQ(origin([](Vma& child) { child.set_kind(Vma::SHARED_ANONYMOUS); }), kNoVma);
}

TEST(MemInheritance, OfOneFileItIsTheSamePlace) {
  Vma parent = private_mapping(0x8000, 0x10000), child = private_mapping(0x9000, 0xb000);
  parent.set_kind(Vma::PRIVATE_FILE), child.set_kind(Vma::PRIVATE_FILE);
  parent.set_file(3), child.set_file(3);
  parent.set_offset(0x2000), child.set_offset(0x3000);
  EXPECT_EQ(find_origin(child, {parent}), 0u);
  child.set_offset(0x4000);
  EXPECT_EQ(find_origin(child, {parent}), kNoVma);
  child.set_offset(0x3000), child.set_file(4);
  EXPECT_EQ(find_origin(child, {parent}), kNoVma);
}

// A child that has written to pages 3 and 4 of sixteen, given up page 8, and waits.
class Child {
 public:
  explicit Child(unsigned char* memory) {
    int ready[2];
    if (::pipe(ready) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      std::memset(memory + 3 * kPage, 'c', 2 * kPage);
      ::madvise(memory + 8 * kPage, kPage, MADV_DONTNEED);
      if (::write(ready[1], "r", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char byte;
    is_ready_ = ::read(ready[0], &byte, 1) == 1;
    ::close(ready[0]), ::close(ready[1]);
  }
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  bool is_ready() const { return is_ready_; }
  HostPid pid() const { return HostPid(pid_); }

 private:
  pid_t pid_ = -1;
  bool is_ready_ = false;
};

class ForkedMemory {
 public:
  ForkedMemory() {
    void* at = ::mmap(nullptr, 16 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory_ = at == MAP_FAILED ? nullptr : static_cast<unsigned char*>(at);
    if (!memory_) return;
    ::madvise(memory_, 16 * kPage, MADV_NOHUGEPAGE);
    std::memset(memory_, 'p', 16 * kPage);
  }
  ~ForkedMemory() { ::munmap(memory_, 16 * kPage); }
  ForkedMemory(const ForkedMemory&) = delete;
  ForkedMemory& operator=(const ForkedMemory&) = delete;
  unsigned char* data() { return memory_; }
  uint64_t start() const { return reinterpret_cast<uint64_t>(memory_); }

 private:
  unsigned char* memory_;
};

// "0-3 5-8": pages by their number.
std::string pages_of(const std::vector<image::InheritedPages>& inherited, uint64_t start) {
  std::string text;
  for (const auto& pages : inherited)
    text += fmt::format("{}{}-{}", text.empty() ? "" : " ", (pages.start() - start) / kPage,
                        (pages.start() + pages.bytes() - start) / kPage);
  return text;
}

std::string pages_of(const std::vector<PageSource>& sources, uint64_t start) {
  std::string text;
  for (const auto& source : sources)
    text += fmt::format("{}{}-{}", text.empty() ? "" : " ", (source.start - start) / kPage,
                        (source.start + source.bytes - start) / kPage);
  return text;
}

TEST(MemInheritance, PagesThatNeitherHasWrittenToAreOne) {
  ForkedMemory memory;
  ASSERT_NE(memory.data(), nullptr);
  const uint64_t start = memory.start();
  const Child child(memory.data());
  ASSERT_TRUE(child.is_ready());
  std::memset(memory.data() + 12 * kPage, 'q', kPage);  // the parent's own
  // Two mappings of the child that lie side by side: what is taken never reaches over their border.
  const std::vector<Vma> parents{private_mapping(start, start + 16 * kPage)},
      vmas{private_mapping(start, start + 6 * kPage), private_mapping(start + 6 * kPage, start + 16 * kPage)};
  const sys::Pagemap own(child.pid()), theirs(HostPid(::getpid()));
  image::PageRun run;
  run.set_start(start), run.set_bytes(15 * kPage);  // the last page is not stored
  const std::vector<image::PageRun> runs{run};
  const std::vector<image::InheritedPages> none;
  std::vector<PageSource> sources{
      {start, 6 * kPage, true}, {start + 6 * kPage, 2 * kPage, true}, {start + 9 * kPage, 7 * kPage, true}};
  const auto inherited = take_inherited(sources, vmas, own, {parents, runs, none, theirs});
  if (inherited.empty() && ::geteuid() != 0) GTEST_SKIP() << "page frames are shown to CAP_SYS_ADMIN only";
  EXPECT_EQ(pages_of(inherited, start), "0-3 5-6 6-8 9-12 13-15");
  EXPECT_EQ(pages_of(sources, start), "3-5 12-13 15-16");
}

TEST(MemInheritance, WhatTheParentHasNoneOfIsNotTaken) {
  ForkedMemory memory;
  ASSERT_NE(memory.data(), nullptr);
  const uint64_t start = memory.start();
  const Child child(memory.data());
  ASSERT_TRUE(child.is_ready());
  const std::vector<Vma> vmas{private_mapping(start, start + 16 * kPage)};
  const sys::Pagemap own(child.pid()), theirs(HostPid(::getpid()));
  std::vector<PageSource> sources{{start, 8 * kPage, true}};
  EXPECT_TRUE(take_inherited(sources, vmas, own, {vmas, {}, {}, theirs}).empty());
  EXPECT_EQ(pages_of(sources, start), "0-8");
}

}  // namespace
}  // namespace mcr::mem
