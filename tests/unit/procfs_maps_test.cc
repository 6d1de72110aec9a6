// Parsers of /proc/PID/maps and smaps: captured text of Linux 6.18, and this process itself.
#include "core/procfs/maps.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/unique_fd.h"
#include "core/sys/file.h"

namespace mcr::procfs {
namespace {

Mapping one(std::string_view line) {
  const std::vector<Mapping> mappings = parse_maps(line);
  EXPECT_EQ(mappings.size(), 1U);
  return mappings.at(0);
}

const Mapping* containing(const std::vector<Mapping>& mappings, const void* address) {
  const auto wanted = reinterpret_cast<uint64_t>(address);
  for (const Mapping& mapping : mappings)
    if (mapping.start <= wanted && wanted < mapping.end) return &mapping;
  return nullptr;
}

}  // namespace

TEST(ParseMaps, ReadsEveryField) {
  const Mapping m = one("7f43d9a17000-7f43d9b6d000 r-xp 00026000 fe:1f 332835   /usr/lib/x86_64-linux-gnu/libc.so.6\n");
  EXPECT_EQ(m.start, 0x7f43d9a17000U);
  EXPECT_EQ(m.end, 0x7f43d9b6d000U);
  EXPECT_EQ(m.size(), 0x156000U);
  EXPECT_EQ(m.prot, PROT_READ | PROT_EXEC);
  EXPECT_FALSE(m.shared);
  EXPECT_EQ(m.offset, 0x26000U);
  EXPECT_EQ(m.device_major, 0xfeU);
  EXPECT_EQ(m.device_minor, 0x1fU);
  EXPECT_EQ(m.inode, 332835U);
  EXPECT_EQ(m.path, "/usr/lib/x86_64-linux-gnu/libc.so.6");
  EXPECT_FALSE(m.deleted);
  EXPECT_TRUE(m.vm_flags.empty());
}

TEST(ParseSmaps, PagesOfItsOwnAndThoseGivenUp) {
  const std::vector<Mapping> maps = parse_smaps(
      "1000-9000 rw-p 00000000 00:00 0 \nSize:                 32 kB\nAnonymous:            24 kB\nKSM:                "
      "   0 kB\n"
      "LazyFree:              8 kB\nAnonHugePages:         0 kB\n");
  ASSERT_EQ(maps.size(), 1u);
  EXPECT_EQ(maps[0].anonymous_kb, 24u);
  EXPECT_EQ(maps[0].lazy_free_kb, 8u);
}

TEST(ParseMaps, AnonymousHasATrailingBlankAndNoPath) {
  const Mapping m = one("7f43d996e000-7f43d9990000 rw-p 00000000 00:00 0 \n");
  EXPECT_EQ(m.path, "");
  EXPECT_EQ(m.prot, PROT_READ | PROT_WRITE);
}

TEST(ParseMaps, SharedWithoutAnyRight) {
  EXPECT_TRUE(one("1000-2000 ---s 00000000 00:05 12 /x").shared);
}

TEST(ParseMaps, DeletedIsCutOffOnce) {
  const Mapping m =
      one("7fecf23ba000-7fecf23bb000 rw-s 00001000 fe:00 10952839      /tmp/we ird/gone\\012x (deleted)\n");
  EXPECT_EQ(m.path, "/tmp/we ird/gone\nx");
  EXPECT_TRUE(m.deleted);
  EXPECT_EQ(one("1000-2000 r--p 0 00:05 12 /a (deleted) (deleted)\n").path, "/a (deleted)");
  EXPECT_EQ(one("1000-2000 rw-s 0 00:01 1046 /memfd:x (deleted)\n").path, "/memfd:x");
}

// Of Linux 6.18, for a file whose name holds a line feed, backslashes and the four characters \134.
TEST(ParseMaps, OnlyTheLineFeedIsEscapedByTheKernel) {
  const Mapping m = one("7fecf23bb000-7fecf23bd000 rw-s 00000000 fe:00 10952749     /tmp/new\\012li\\e\\134 end\n");
  EXPECT_EQ(m.path, "/tmp/new\nli\\e\\134 end");
}

TEST(ParseMaps, SpecialMappings) {
  const std::vector<Mapping> maps = parse_maps(
      "55d320883000-55d3208a4000 rw-p 00000000 00:00 0                          [heap]\n"
      "7f43d9be0000-7f43d9be4000 r--p 00000000 00:00 0                          [vvar]\n"
      "7f43d9be4000-7f43d9be6000 r--p 00000000 00:00 0                          [vvar_vclock]\n"
      "7f43d9be6000-7f43d9be8000 r-xp 00000000 00:00 0                          [vdso]\n"
      "7f43d9bf0000-7f43d9bf1000 rw-p 00000000 00:00 0                          [anon:my heap]\n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n");
  ASSERT_EQ(maps.size(), 6U);
  EXPECT_EQ(maps[0].path, "[heap]");
  EXPECT_EQ(maps[2].path, "[vvar_vclock]");
  EXPECT_EQ(maps[4].path, "[anon:my heap]");
  EXPECT_EQ(maps[5].path, "[vsyscall]");
  EXPECT_EQ(maps[5].start, 0xffffffffff600000U);
  EXPECT_EQ(maps[5].prot, PROT_EXEC);
}

TEST(ParseMaps, EmptyTextIsNoMapping) {
  EXPECT_TRUE(parse_maps("").empty());
}

TEST(ParseMaps, RefusesWhatItCannotRead) {
  for (const char* line : {"\n", "x", "1000", "1000-", "1000-2000", "2000-1000 r--p 0 0:0 0", "1000-1000 r--p 0 0:0 0",
                           "1000-2000 rx-p 0 0:0 0", "1000-2000 r--q 0 0:0 0", "1000-2000 r--p 0 00 0",
                           "11111111111111111-22222222222222222 r--p 0 0:0 0", "1000-2000 r--p 0 100000000:0 0",
                           "1000-2000 r--p 0 0:0 0x", "1000-2000 r--p 0 0:0 99999999999999999999"}) {
    try {
      parse_maps(line);
      ADD_FAILURE() << "accepted: " << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::system) << line;
    }
  }
}

TEST(ParseMaps, ErrorQuotesTheLineHarmlessly) {
  try {
    parse_maps("\x1b[2J\n");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "/proc maps: cannot read the line \"\\033[2J\"");
  }
}

TEST(ParseSmaps, TakesFlagsAndProtectionKey) {
  const std::vector<Mapping> maps = parse_smaps(
      "5573b9032000-5573b9034000 r--p 00000000 fe:00 247134                     /usr/bin/cat\n"
      "Size:                  8 kB\n"
      "THPeligible:           0\n"
      "ProtectionKey:         3\n"
      "VmFlags: rd mr mw me \n"
      "5573b9034000-5573b9039000 r-xp 00002000 fe:00 247134                     /usr/bin/cat\n"
      "Private_Clean:        20 kB\n"
      "VmFlags: rd ex mr mw me sd \n");
  ASSERT_EQ(maps.size(), 2U);
  EXPECT_EQ(maps[0].protection_key, 3U);
  EXPECT_EQ(maps[0].vm_flags, (std::vector<std::string>{"rd", "mr", "mw", "me"}));
  EXPECT_TRUE(maps[1].has_flag("sd"));
  EXPECT_FALSE(maps[1].has_flag("wr"));
  EXPECT_EQ(maps[1].protection_key, 0U);
}

TEST(ParseSmaps, TakesPiecesThatEndAnywhere) {
  const std::string text =
      "5573b9032000-5573b9034000 r--p 00000000 fe:00 247134                     /usr/bin/cat\n"
      "KernelPageSize:        4 kB\nAnonymous:         12 kB\nVmFlags: rd mr mw me \n"
      "5573b9034000-5573b9039000 r-xp 00002000 fe:00 247134                     /usr/bin/cat\n"
      "LazyFree:              8 kB\nVmFlags: rd ex mr mw me sd";
  for (size_t bytes = 1; bytes <= text.size(); ++bytes) {
    SmapsParser parser;
    for (size_t at = 0; at < text.size(); at += bytes) parser.take(std::string_view(text).substr(at, bytes));
    const std::vector<Mapping> maps = parser.finish();
    ASSERT_EQ(maps.size(), 2U) << bytes;
    EXPECT_EQ(maps[0].anonymous_kb, 12U) << bytes;
    EXPECT_EQ(maps[0].path, "/usr/bin/cat") << bytes;
    EXPECT_EQ(maps[0].vm_flags, (std::vector<std::string>{"rd", "mr", "mw", "me"})) << bytes;
    EXPECT_EQ(maps[1].lazy_free_kb, 8U) << bytes;
    EXPECT_EQ(maps[1].end, 0x5573b9039000U) << bytes;
    EXPECT_TRUE(maps[1].has_flag("sd")) << bytes;
  }
}

TEST(ParseSmaps, RefusesFieldsWithoutAMapping) {
  EXPECT_THROW(parse_smaps("VmFlags: rd \n"), Error);
  EXPECT_THROW(parse_smaps("1000-2000 r--p 0 0:0 0\nProtectionKey: x\n"), Error);
  EXPECT_THROW(parse_smaps("1000-2000 r--p 0 0:0 0\nLazyFree: 4 MB\n"), Error);
  EXPECT_THROW(parse_smaps("1000-2000 r--p 0 0:0 0\nAnonymous: x kB\n"), Error);
  EXPECT_THROW(parse_smaps("1000-2000 r--p 0 0:0 0\nKernelPageSize: x kB\n"), Error);
}

TEST(ParseSmaps, TakesTheSizeOfHugePages) {
  const auto maps = parse_smaps(
      "200000-600000 rw-p 00000000 00:12 7   /anon_hugepage (deleted)\nKernelPageSize:     2048 kB\n"
      "600000-601000 rw-p 00000000 00:00 0\nSize:  4 kB\n");
  ASSERT_EQ(maps.size(), 2U);
  EXPECT_EQ(maps[0].kernel_page_bytes, 2U << 20);
  EXPECT_EQ(maps[1].kernel_page_bytes, 4096U);
}

TEST(ParseMaps, AgreesWithMmapOfThisProcess) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const UniqueFd file = sys::make_memfd("a \n\\012b (deleted)");
  sys::truncate_fd(file.get(), 4 * page);
  void* address = mmap(nullptr, 2 * page, PROT_READ, MAP_SHARED, file.get(), static_cast<off_t>(page));
  ASSERT_NE(address, MAP_FAILED);
  const std::vector<Mapping> maps = parse_maps(sys::read_text("/proc/self/maps"));
  const std::vector<Mapping> smaps = parse_smaps(sys::read_text("/proc/self/smaps"));
  munmap(address, 2 * page);
  const struct stat info = sys::stat_fd(file.get());
  for (const std::vector<Mapping>* list : {&maps, &smaps}) {
    const Mapping* m = containing(*list, address);
    ASSERT_NE(m, nullptr);
    EXPECT_EQ(m->size(), 2 * page);
    EXPECT_EQ(m->prot, PROT_READ);
    EXPECT_TRUE(m->shared && m->deleted);
    EXPECT_EQ(m->offset, page);
    EXPECT_EQ(m->inode, info.st_ino);
    EXPECT_EQ(makedev(m->device_major, m->device_minor), info.st_dev);
    EXPECT_EQ(m->path, "/memfd:a \n\nb (deleted)");  // the one name that cannot be told apart
  }
  EXPECT_TRUE(containing(smaps, address)->has_flag("sh"));
}

}  // namespace mcr::procfs
