// Which mappings a kernel would join if it were let: core/mem/neighbours.h.
#include "core/mem/neighbours.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace mcr::mem {
namespace {

using image::Vma;

Vma anonymous(uint64_t start, uint64_t end, std::initializer_list<const char*> flags = {"rd", "wr", "ac"}) {
  Vma vma;
  vma.set_start(start);
  vma.set_end(end);
  vma.set_prot(PROT_READ | PROT_WRITE);
  for (const char* flag : flags) vma.add_vm_flags(flag);
  return vma;
}

Vma of_file(uint64_t start, uint64_t end, uint32_t file, uint64_t offset) {
  Vma vma = anonymous(start, end);
  vma.set_kind(Vma::SHARED_FILE);
  vma.set_file(file);
  vma.set_offset(offset);
  return vma;
}

// "." alone, "a" and "b" the two ways of a row.
std::string pattern(const std::vector<Vma>& vmas) {
  std::string text;
  for (const Separation& s : find_separations(vmas)) text += !s.needed ? '.' : s.odd ? 'b' : 'a';
  return text;
}

TEST(Neighbours, ARowAlternates) {
  EXPECT_EQ(pattern({}), "");
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000)}), ".");
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000), anonymous(0x2000, 0x4000), anonymous(0x4000, 0x5000)}), "aba");
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000), anonymous(0x3000, 0x4000)}), "..");
}

TEST(Neighbours, WhatDiffersIsApartAnyway) {
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000), anonymous(0x2000, 0x3000, {"rd", "wr"})}), "..");
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000), anonymous(0x2000, 0x3000, {"rd", "wr", "ac", "lo"})}), "..");
  Vma named = anonymous(0x2000, 0x3000);
  named.set_name("[anon:stack]");
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000), named}), "..");
  Vma bound = anonymous(0x2000, 0x3000);
  bound.mutable_policy()->set_mode(2);
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000), bound}), "..");
  Vma keyed = anonymous(0x2000, 0x3000);
  keyed.set_protection_key(3);
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000), keyed}), "..");
}

TEST(Neighbours, WhereItLiesAndWhatIsInItDoesNotKeepItApart) {
  Vma heap = anonymous(0x2000, 0x3000);
  heap.set_name("[heap]");
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000), heap}), "ab");
  EXPECT_EQ(pattern({anonymous(0x1000, 0x2000), anonymous(0x2000, 0x3000, {"rd", "wr", "gu", "ac", "sd"})}), "ab");
}

TEST(Neighbours, FilesByPlaceInTheFile) {
  EXPECT_EQ(pattern({of_file(0x1000, 0x2000, 1, 0), of_file(0x2000, 0x3000, 1, 0x1000)}), "ab");
  EXPECT_EQ(pattern({of_file(0x1000, 0x2000, 1, 0), of_file(0x2000, 0x3000, 1, 0x2000)}), "..");
  EXPECT_EQ(pattern({of_file(0x1000, 0x2000, 1, 0), of_file(0x2000, 0x3000, 2, 0x1000)}), "..");
}

}  // namespace
}  // namespace mcr::mem
