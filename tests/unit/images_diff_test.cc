// What is told of two images that differ, and what is not. No engine: the images are written here.
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>

#include <cerrno>

#include "images/diff.h"
#include "images/proto/stats.pb.h"
#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

using sample::Folder;

constexpr uint64_t kPageBytes = 4096, kBase = 0x10000;

// One process with what a test wants to be different.
struct Sample {
  std::string registers = std::string(27 * 8, '\0');
  image::Credentials credentials;
  image::IntervalTimers timers;
  image::PendingSignals signals;
  std::vector<image::Descriptor> descriptors;
  std::vector<image::FileObject> objects;
  std::vector<std::pair<uint64_t, uint64_t>> mappings{{kBase, kBase + 16 * kPageBytes}};
  std::vector<std::pair<uint64_t, std::string>> pages;  // each one run
  image::Vma::Kind kind = image::Vma::PRIVATE_ANONYMOUS;
  int32_t ppid = 1;
  uint64_t boot_time_ns = 1'000'000'000;
  uint64_t rseq_address = 0;
  image::SyscallRestart restart;

  void write(const std::string& directory) const;
  std::string path(const Folder& folder, const std::string& name) const {
    write(folder.path(name));
    return folder.path(name);
  }
};

template <typename... Messages>
void write_records(ImageWriter& writer, const std::string& name, const Messages&... lists) {
  RecordWriter records = writer.records(name);
  const auto append = [&](const auto& list) {
    for (const auto& message : list) records.append(message);
  };
  (append(lists), ...);
  records.finish();
  writer.add(records);
}

void Sample::write(const std::string& directory) const {
  ImageWriter writer(directory, false);
  image::ProcessCore core;
  core.set_pid(12), core.set_ppid(ppid), core.set_thread_count(1);
  core.add_facets()->PackFrom(timers);
  core.add_facets()->PackFrom(signals);
  image::ThreadCore thread;
  thread.set_tid(12), thread.set_registers(registers);
  *thread.mutable_restart() = restart;
  thread.add_facets()->PackFrom(credentials);
  image::ThreadPointers pointers;
  pointers.set_rseq_address(rseq_address);
  thread.add_facets()->PackFrom(pointers);
  write_records(writer, "core-12.img", std::vector{core}, std::vector{thread});
  write_records(writer, "fdinfo-12.img", descriptors);
  write_records(writer, "files.img", objects);

  const UniqueFd file = writer.pages("pages-1.img");
  std::vector<image::PageRun> runs;
  uint64_t offset = kPageFileHeader;
  for (const auto& [at, content] : pages) {
    sys::pwrite_fully(file.get(), content.data(), content.size(), offset);
    image::PageRun& run = runs.emplace_back();
    run.set_start(at), run.set_bytes(content.size()), run.set_offset(offset), run.set_chunk_bytes(kChunkBytes);
    run.add_checksums(checksum_of(content.data(), content.size()));
    offset += content.size();
  }
  writer.add_pages("pages-1.img", file.get());
  std::vector<image::Vma> vmas;
  for (const auto& [start, end] : mappings) {
    image::Vma& vma = vmas.emplace_back();
    vma.set_start(start), vma.set_end(end), vma.set_kind(kind), vma.set_prot(3);
  }
  image::MemoryMap map;
  map.set_pages_file("pages-1.img"), map.set_vma_count(vmas.size()), map.set_run_count(runs.size());
  write_records(writer, "mm-12.img", std::vector{map}, vmas, runs);
  image::Inventory inventory = sample::inventory_of(12, "host");
  inventory.set_page_size(kPageBytes);
  inventory.set_boot_time_ns(boot_time_ns);
  writer.commit(inventory);
}

// The lines that count, and those that have a reason.
std::pair<std::string, std::string> told(const Sample& a, const Sample& b) {
  const Folder folder;
  const auto differences = diff(a.path(folder, "a"), b.path(folder, "b"));
  std::string expected;
  for (const Difference& difference : differences)
    if (!difference.reason.empty()) expected += difference.line() + "\n";
  return {diff_text(differences, false), expected};
}

std::string page_of(char c) {
  return std::string(kPageBytes, c);
}

image::FileObject file_object(uint32_t id, const std::string& path, int64_t offset = 0) {
  image::RegularFile file;
  file.set_path(path);
  image::FileObject object;
  object.set_id(id), object.set_kind("regular_file"), object.set_offset(offset);
  object.mutable_body()->PackFrom(file);
  return object;
}

image::Descriptor descriptor(int32_t fd, uint32_t file) {
  image::Descriptor d;
  d.set_fd(fd), d.set_file(file);
  return d;
}

TEST(ImageDiff, AnImageAndItself) {
  Sample a;
  a.pages = {{kBase, page_of('a')}};
  a.objects = {file_object(1, "/a")};
  a.descriptors = {descriptor(3, 1)};
  EXPECT_EQ(told(a, a), std::make_pair(std::string(), std::string()));
}

TEST(ImageDiff, AFieldByItsName) {
  Sample a, b;
  b.credentials.set_euid(1000);
  b.registers[16 * 8] = 7;
  EXPECT_EQ(told(a, b).first,
            "process 12 > thread 12 > ThreadCore.registers.rip: 0x0 -> 0x7\n"
            "process 12 > thread 12 > Credentials.euid: 0 -> 1000\n");
}

TEST(ImageDiff, PagesByTheirAddress) {
  Sample a, b;
  a.pages = {{kBase, page_of('a') + page_of('b')}, {kBase + 5 * kPageBytes, page_of('c')}};
  b.pages = {{kBase, page_of('a')}, {kBase + kPageBytes, page_of('b')}, {kBase + 5 * kPageBytes, page_of('c')}};
  EXPECT_EQ(told(a, b).first, "") << "split otherwise";
  b.pages[1].second[17] = 'x';
  b.pages[2].second[0] = 'x';
  EXPECT_EQ(told(a, b).first, "process 12 > memory 0x10000-0x20000: 2 pages differ (first byte at 0x11011)\n");
  b = a;
  b.pages.emplace_back(kBase + 7 * kPageBytes, page_of('\0'));
  EXPECT_EQ(told(a, b).first, "") << "a page of zeros, stored or not";
  b.pages.back().second[1] = 1;
  EXPECT_EQ(told(a, b).first, "process 12 > memory 0x10000-0x20000: 1 page differs (first byte at 0x17001)\n");
}

TEST(ImageDiff, AnAbsentPageOfAFileIsNotZero) {
  Sample a, b;
  a.kind = b.kind = image::Vma::PRIVATE_FILE;
  b.pages = {{kBase, page_of('\0')}};
  EXPECT_EQ(told(a, b).first, "process 12 > memory 0x10000-0x20000: 1 page differs (first byte at 0x10000)\n");
}

TEST(ImageDiff, Mappings) {
  Sample a, b;
  b.mappings = {{kBase, kBase + kPageBytes}, {kBase + kPageBytes, kBase + 16 * kPageBytes}};
  EXPECT_EQ(told(a, b).first, "") << "neighbours that differ in nothing";
  b.mappings = {{kBase, kBase + 15 * kPageBytes}};
  EXPECT_EQ(told(a, b).first, "process 12 > mapping 0x1f000-0x20000: private_anonymous rw- -> absent\n");
}

TEST(ImageDiff, DescriptorsByWhatTheyShare) {
  Sample a, b;
  a.objects = {file_object(1, "/a"), file_object(2, "/b")};
  a.descriptors = {descriptor(3, 1), descriptor(4, 2), descriptor(5, 1)};
  b.objects = {file_object(1, "/b"), file_object(2, "/a")};
  b.descriptors = {descriptor(3, 2), descriptor(4, 1), descriptor(5, 2)};
  EXPECT_EQ(told(a, b).first, "") << "other numbers";
  b.objects.push_back(file_object(3, "/a"));
  b.descriptors[2].set_file(3);
  const std::string lines = told(a, b).first;
  EXPECT_TRUE(
      lines.starts_with("process 12 > fd 5 > Descriptor.file: shared with process 12 > fd 3 > Descriptor.file -> "
                        "of its own\n"))
      << lines;
  b = a;
  b.objects[1].set_offset(10);
  EXPECT_EQ(told(a, b).first, "process 12 > fd 4 > FileObject.offset: 0 -> 10\n");
  b = a;
  b.descriptors.pop_back();
  EXPECT_EQ(told(a, b).first, "process 12 > fd 5: present -> absent\n");
}

TEST(ImageDiff, TimeThatRemains) {
  Sample a, b;
  auto* timer = a.timers.add_timers();
  timer->set_which(0), timer->set_value_us(5'000'000);
  b = a;
  b.boot_time_ns += 100'000'000;
  b.timers.mutable_timers(0)->set_value_us(4'950'000);
  EXPECT_EQ(told(a, b).first, "");
  EXPECT_TRUE(told(a, b).second.find("IntervalTimers.timers[which 0].value_us: 5000000 -> 4950000") !=
              std::string::npos);
  b.timers.mutable_timers(0)->set_value_us(5'000'001);
  EXPECT_NE(told(a, b).first, "") << "more than before";
  b.timers.mutable_timers(0)->set_value_us(1'000'000);
  EXPECT_NE(told(a, b).first, "") << "less than the clocks allow";
}

TEST(ImageDiff, SignalsOfExpiredTimers) {
  Sample a, b;
  siginfo_t info{};
  info.si_signo = SIGALRM, info.si_code = SI_KERNEL;
  b.signals.add_siginfo(&info, sizeof info);
  EXPECT_NE(told(a, b).first, "") << "there was no timer";
  auto* timer = a.timers.add_timers();
  timer->set_which(0), timer->set_value_us(10), timer->set_interval_us(1000);
  *b.timers.add_timers() = *timer;
  EXPECT_EQ(told(a, b).first, "");
  EXPECT_NE(told(b, a).first, "") << "a signal that is lost";
}

TEST(ImageDiff, WhatTheKernelWrites) {
  Sample a, b;
  a.rseq_address = b.rseq_address = kBase + 64;
  a.pages = b.pages = {{kBase, page_of('a')}};
  b.pages[0].second[64 + 4] = 'b';  // cpu_id
  EXPECT_EQ(told(a, b).first, "");
  EXPECT_NE(told(a, b).second, "");
  b.pages[0].second[64 + 16] = 'b';  // flags
  EXPECT_NE(told(a, b).first, "");
}

// Addresses of an image may be anything.
TEST(ImageDiff, ImpossibleAddresses) {
  Sample a, b;
  a.mappings = b.mappings = {{0, 16 * kPageBytes}};
  a.pages = {{0, page_of('a')}};
  b.pages = {{0, page_of('b')}};
  for (const uint64_t address : {~uint64_t{0}, ~uint64_t{7}, ~uint64_t{0} - 19, uint64_t{4090}}) {
    a.rseq_address = b.rseq_address = address;
    EXPECT_EQ(told(a, b).first, "process 12 > memory 0x0-0x10000: 1 page differs (first byte at 0x0)\n");
  }
}

// A futex wait for a moment that has come, at every address that its argument may have.
TEST(ImageDiff, TimeOutsThatAreOver) {
  const auto set = [](Sample& sample, size_t index, uint64_t value) {
    sample.registers.replace(index * 8, 8, std::string(reinterpret_cast<const char*>(&value), 8));
  };
  constexpr size_t kR10 = 7, kRax = 10, kRsi = 13;  // places in struct user_regs_struct
  Sample a, b;
  a.pages = b.pages = {{kBase, page_of('\0')}};
  a.restart.set_present(true), a.restart.set_number(SYS_futex);
  for (const uint64_t address : {kBase, kBase + 2 * kPageBytes, ~uint64_t{0}, ~uint64_t{0} - 8}) {
    for (Sample* sample : {&a, &b}) set(*sample, kRsi, FUTEX_WAIT_BITSET), set(*sample, kR10, address);
    set(a, kRax, static_cast<uint64_t>(-516)), set(b, kRax, static_cast<uint64_t>(-ETIMEDOUT));
    EXPECT_EQ(told(a, b).first, "") << address;
    EXPECT_NE(told(a, b).second, "") << address;
  }
  for (Sample* sample : {&a, &b}) set(*sample, kR10, kBase);
  a.pages = b.pages = {{kBase, page_of('\1')}};  // a moment far away
  EXPECT_NE(told(a, b).first, "");
  a.pages = b.pages = {{kBase, page_of('\0')}};
  set(b, kRax, 0);
  EXPECT_NE(told(a, b).first, "") << "another result";

  constexpr size_t kRdx = 12, kRdi = 14;
  set(b, kRax, static_cast<uint64_t>(-EAGAIN));
  for (Sample* sample : {&a, &b}) set(*sample, kRdi, kBase), set(*sample, kRdx, 2);
  EXPECT_EQ(told(a, b).first, "") << "the word was changed before the first image";
  for (Sample* sample : {&a, &b}) set(*sample, kRdx, 0);
  EXPECT_NE(told(a, b).first, "") << "the word was the awaited one";
}

TEST(ImageDiff, ParentsOutside) {
  Sample a, b;
  b.ppid = 77;
  EXPECT_EQ(told(a, b).first, "");
  b.ppid = 12;
  EXPECT_EQ(told(a, b).first, "process 12 > ProcessCore.ppid: 1 -> 12\n");
}

TEST(ImageDiff, Json) {
  const Folder folder;
  Sample a, b;
  b.ppid = 77;
  b.credentials.set_uid(5);
  const std::string json = diff_json(diff(a.path(folder, "a"), b.path(folder, "b")));
  for (const char* part :
       {"\"same\": false", "\"count\": 1", "\"Credentials.uid\"", "\"expected\": true", "\"reason\""})
    EXPECT_NE(json.find(part), std::string::npos) << part << " in " << json;
}

}  // namespace
}  // namespace mcr::images
