// The memory of a saved process, and the core that is made of it: a small image, and whatever a damaged one says.
#include "core/inspect/elf_core.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <sys/stat.h>

#include <cstring>

#include "core/inspect/process_memory.h"
#include "tests/unit/images_sample.h"
#include "tests/unit/restore_sample.h"

namespace mcr {
namespace {

using images::sample::content_of;
using images::sample::error_of;
using images::sample::Folder;
using inspect::Source;
using restore_sample::kPid;
using restore_sample::Sample;

image::Vma& add_mapping(Sample& sample, image::Vma::Kind kind, uint64_t start, uint64_t pages, uint32_t file = 0) {
  image::Vma& vma = sample.process.vmas.emplace_back();
  vma.set_start(start), vma.set_end(start + pages * 4096);
  vma.set_prot(PROT_READ | PROT_WRITE);
  vma.set_kind(kind), vma.set_file(file);
  return vma;
}

// A file of this host that a mapping shows: two pages of 'f'.
struct HostFile {
  explicit HostFile(const Folder& folder) : path(folder.path("mapped")) {
    images::sample::write_content(path, std::string(8192, 'f'));
    struct stat status {};
    ::stat(path.c_str(), &status);
    file.set_path(path);
    file.set_mode(status.st_mode);
    file.set_size(8192);
    file.set_mtime_ns(status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec);
    file.set_uid(status.st_uid), file.set_gid(status.st_gid);
  }
  std::string path;
  image::RegularFile file;
};

std::string text_at(inspect::ProcessMemory& memory, uint64_t address, size_t bytes) {
  std::string text(bytes, '?');
  text.resize(memory.read(address, std::as_writable_bytes(std::span(text))));
  return text;
}

TEST(ProcessMemory, OwnPagesAndWhatWasNeverWritten) {
  const Folder folder;
  Sample sample;
  sample.process.vmas.front().set_end(0x404000);
  sample.write(folder.path("image"));
  const inspect::SavedTree tree(folder.path("image"));
  inspect::ProcessMemory memory(tree, kPid);
  EXPECT_EQ(text_at(memory, 0x401ffe, 4), std::string("pp\0\0", 4));
  EXPECT_EQ(text_at(memory, 0x403ffe, 8).size(), 2u) << "nothing is mapped behind it";
  EXPECT_EQ(text_at(memory, 0x3fffff, 1), "");
  EXPECT_EQ(text_at(memory, UINT64_MAX - 2, 8), "");
  EXPECT_EQ(text_at(memory, 0x400000, 0x10000), std::string(8192, 'p') + std::string(8192, '\0'));
}

TEST(ProcessMemory, AFileOfThisHostIsReadWhenItIsTheSame) {
  const Folder folder;
  Sample sample;
  const HostFile host(folder);
  sample.add_object(9, "regular_file", host.file);
  add_mapping(sample, image::Vma::PRIVATE_FILE, 0x500000, 4, 9);
  sample.write(folder.path("image"));
  const auto first = [&] {
    const inspect::SavedTree tree(folder.path("image"));
    inspect::ProcessMemory memory(tree, kPid);
    return text_at(memory, 0x500000, 4 * 4096) + memory.why_missing(memory.mappings().back());
  };
  EXPECT_EQ(first(), std::string(8192, 'f')) << "what lies behind its end is no memory";
  images::sample::write_content(host.path, std::string(8192, 'g'));
  EXPECT_EQ(first(), host.path + " was changed after the dump");
  images::sample::write_content(host.path, "short");
  EXPECT_EQ(first(), host.path + " has 5 bytes, had 8192 at the dump");
  std::filesystem::remove(host.path);
  EXPECT_NE(first().find("cannot be read"), std::string::npos);
}

TEST(ProcessMemory, ADeletedFileComesFromTheImage) {
  const Folder folder;
  Sample sample;
  sample.ghost.set_size(3 * 4096);
  add_mapping(sample, image::Vma::SHARED_FILE, 0x500000, 4, 2);
  sample.write(folder.path("image"));
  const inspect::SavedTree tree(folder.path("image"));
  inspect::ProcessMemory memory(tree, kPid);
  EXPECT_EQ(text_at(memory, 0x500000, 4 * 4096), std::string(4096, 'g') + std::string(8192, '\0'));
  const auto pieces = memory.pieces_of(memory.mappings().back());
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].source, Source::image);
  EXPECT_EQ(pieces[1].source, Source::zeros);
  EXPECT_EQ(pieces[2].source, Source::missing);
}

TEST(ProcessMemory, SaysWhichProcessesThereAre) {
  const Folder folder;
  Sample().write(folder.path("image"));
  const inspect::SavedTree tree(folder.path("image"));
  EXPECT_NE(error_of([&] { inspect::ProcessMemory(tree, 5); }).find(fmt::format("it has {}", kPid)), std::string::npos);
}

// ---- cores ----

std::string core_of(const std::string& directory, int32_t pid = kPid) {
  const Folder folder;
  const UniqueFd file = sys::open(folder.path("core"), O_RDWR | O_CREAT, 0600);
  inspect::write_core(inspect::SavedTree(directory), pid, file.get(), false);
  return content_of(folder.path("core"));
}

// The program header that says what lies at `address`.
Elf64_Phdr segment_of(const std::string& core, uint64_t address) {
  Elf64_Ehdr header;
  std::memcpy(&header, core.data(), sizeof header);
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, core.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type == PT_LOAD && segment.p_vaddr <= address && address < segment.p_vaddr + segment.p_memsz)
      return segment;
  }
  return {};
}

TEST(ElfCore, HoldsWhatTheImageHolds) {
  const Folder folder;
  Sample sample;
  const HostFile host(folder);
  sample.add_object(9, "regular_file", host.file);
  add_mapping(sample, image::Vma::PRIVATE_FILE, 0x500000, 2, 9);
  add_mapping(sample, image::Vma::PRIVATE_ANONYMOUS, 0x600000, 2);
  sample.write(folder.path("image"));
  const std::string core = core_of(folder.path("image"));
  const Elf64_Phdr own = segment_of(core, 0x400000);
  ASSERT_EQ(own.p_filesz, 8192u);
  EXPECT_EQ(core.substr(own.p_offset, 8192), std::string(8192, 'p'));
  EXPECT_EQ(segment_of(core, 0x500000).p_memsz, 8192u);
  EXPECT_EQ(segment_of(core, 0x500000).p_filesz, 0u) << "it is in the file";
  EXPECT_EQ(segment_of(core, 0x600000).p_filesz, 0u) << "it was never written to";
  EXPECT_NE(core.find(host.path), std::string::npos) << "NT_FILE";
}

// More segments than an ELF header can count: their number stands in the first section header.
TEST(ElfCore, OfVeryManyMappings) {
  constexpr uint64_t kMany = 70'000;
  const Folder folder;
  Sample sample;
  for (uint64_t i = 0; i < kMany; ++i) add_mapping(sample, image::Vma::PRIVATE_ANONYMOUS, 0x10000000 + i * 8192, 1);
  sample.write(folder.path("image"));
  const std::string core = core_of(folder.path("image"));
  Elf64_Ehdr header;
  std::memcpy(&header, core.data(), sizeof header);
  EXPECT_EQ(header.e_phnum, PN_XNUM);
  Elf64_Shdr section;
  ASSERT_EQ(core.size(), header.e_shoff + sizeof section);
  std::memcpy(&section, core.data() + header.e_shoff, sizeof section);
  EXPECT_EQ(section.sh_info, kMany + 2);
}

// One page that is said to be everywhere is refused before anything is written.
TEST(ElfCore, AnImageThatSaysMoreThanADiskHolds) {
  const Folder folder;
  Sample sample;
  constexpr uint64_t kBytes = uint64_t{1} << 46;
  add_mapping(sample, image::Vma::PRIVATE_ANONYMOUS, 0x100000000, kBytes / 4096);
  image::PageRun run = sample.process.runs.front();
  run.set_start(0x100000000), run.set_bytes(kBytes), run.set_source(image::PageRun::REPEATED);
  run.set_chunk_bytes(4096), run.set_checksums(0, images::checksum_of(sample.pages.data(), 4096));
  sample.process.runs.push_back(run);
  sample.write(folder.path("image"));
  EXPECT_NE(error_of([&] { core_of(folder.path("image")); }).find("its file system has"), std::string::npos);
}

TEST(ElfCore, OffsetsThatNoFileHas) {
  const Folder folder;
  Sample sample;
  const HostFile host(folder);
  sample.add_object(9, "regular_file", host.file);
  add_mapping(sample, image::Vma::PRIVATE_FILE, 0x500000, 2, 9).set_offset(UINT64_MAX - 4095);
  sample.write(folder.path("image"));
  EXPECT_NE(error_of([&] { core_of(folder.path("image")); }).find("offset cannot be"), std::string::npos);
}

TEST(ElfCore, RegistersOfAnotherKind) {
  const Folder folder;
  Sample sample;
  sample.process.threads.front().set_registers("short");
  sample.write(folder.path("image"));
  EXPECT_NE(error_of([&] { core_of(folder.path("image")); }).find("registers of another kind"), std::string::npos);
}

// The golden image with bits flipped: an error of the image that names a file, or the same core as ever. A flipped bit
// is in a file that the core does not need (descriptors' positions, say) or is found.
TEST(ElfCore, FlippedBitsAreFoundOrDoNotMatter) {
  constexpr int32_t kGolden = 31007;
  constexpr size_t kStep = 97;
  const Folder folder;
  const std::string image = folder.path("image");
  std::filesystem::copy(MCR_TEST_DIRECTORY "/golden/v1", image);
  std::string good_core;
  const std::string of_host = error_of([&] { good_core = core_of(image, kGolden); });
  if (of_host.find("another kind of CPU") != std::string::npos) GTEST_SKIP() << of_host;
  ASSERT_EQ(of_host, "");
  size_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(image)) {
    const std::string name = entry.path().filename(), good = content_of(entry.path());
    const UniqueFd fd = sys::open(entry.path(), O_WRONLY);
    for (size_t bit = 0; bit < good.size() * 8; bit += kStep) {
      const char bad = static_cast<char>(good[bit / 8] ^ (1 << bit % 8));
      sys::pwrite_fully(fd.get(), &bad, 1, bit / 8);
      std::string core;
      const std::string error = error_of([&] { core = core_of(image, kGolden); });
      found += !error.empty();
      if (error.empty())
        ASSERT_TRUE(core == good_core) << name << " bit " << bit;
      else
        ASSERT_NE(error.find(".img"), std::string::npos) << name << " bit " << bit << ": " << error;
      sys::pwrite_fully(fd.get(), &good[bit / 8], 1, bit / 8);
    }
  }
  EXPECT_GT(found, 100u);
}

}  // namespace
}  // namespace mcr
