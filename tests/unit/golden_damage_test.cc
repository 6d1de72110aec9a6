// The golden image with one bit flipped: `verify` refuses it, and so does the reading part of `restore`. The bits of
// the headers all, of the rest every 61st; MCR_BIT_STEP=1 (tests/long/flip_every_bit) takes every one, some 400,000.
#include <cstdlib>
#include <filesystem>

#include "core/engine/engine.h"
#include "images/format.h"
#include "tests/unit/images_sample.h"

namespace mcr {
namespace {

using images::sample::content_of;
using images::sample::Folder;

constexpr char kImage[] = MCR_TEST_DIRECTORY "/golden/v1";

size_t step() {
  const char* text = std::getenv("MCR_BIT_STEP");
  return text ? std::strtoul(text, nullptr, 10) : 61;
}

// Whether it is refused as a damaged image; what this host lacks for it comes later.
template <typename Action>
bool is_refused(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.fault() == Fault::image;
  }
  return false;
}

void restore(const std::string& directory) {
  engine::RestoreOptions options;
  options.images_dir = directory;
  options.when_checked = [] { throw Error(Fault::usage, "nothing stood in the way"); };
  Damage damage;
  engine::restore(options, damage);
}

class Flipping {
 public:
  Flipping() { std::filesystem::copy(kImage, folder_.path("image")); }
  std::string image() const { return folder_.path("image"); }

  // Calls `refuses` for the image with one bit flipped, for the bits in [from, to) of the file.
  template <typename Refuses>
  void each(const std::string& name, size_t from, size_t to, size_t by, Refuses refuses) {
    const std::string good = content_of(image() + "/" + name);
    const UniqueFd fd = sys::open(image() + "/" + name, O_WRONLY);
    for (size_t bit = from * 8; bit < std::min(to, good.size()) * 8; bit += by) {
      const char bad = static_cast<char>(good[bit / 8] ^ (1 << bit % 8));
      sys::pwrite_fully(fd.get(), &bad, 1, bit / 8);
      ASSERT_TRUE(refuses()) << name << " byte " << bit / 8 << " bit " << bit % 8;
      sys::pwrite_fully(fd.get(), &good[bit / 8], 1, bit / 8);
      ++count_;
    }
  }
  size_t count() const { return count_; }

 private:
  Folder folder_;
  size_t count_ = 0;
};

std::vector<std::string> files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kImage)) names.push_back(entry.path().filename());
  return names;
}

TEST(GoldenDamage, TheImageItselfIsWhole) {
  Flipping flipping;
  images::verify(flipping.image());
  EXPECT_FALSE(is_refused([&] { restore(flipping.image()); }));
}

TEST(GoldenDamage, FlippedBitsAreFoundByVerify) {
  Flipping flipping;
  const auto refuses = [&] { return is_refused([&] { images::verify(flipping.image()); }); };
  for (const std::string& name : files()) {
    flipping.each(name, 0, images::kHeaderBytes, 1, refuses);
    flipping.each(name, images::kHeaderBytes, SIZE_MAX, step(), refuses);
  }
  RecordProperty("bits", static_cast<int>(flipping.count()));
}

constexpr size_t kGhostBytes = 7;  // of the deleted file

// Pages and contents are compared with their checksums when they are read, which is after this.
TEST(GoldenDamage, FlippedBitsAreFoundByRestoreBeforeItCreates) {
  Flipping flipping;
  const auto refuses = [&] { return is_refused([&] { restore(flipping.image()); }); };
  for (const std::string& name : files()) {
    const bool is_pages = name.starts_with("pages-"), is_ghost = name.starts_with("ghost-");
    flipping.each(name, 0, images::kHeaderBytes, 1, refuses);
    flipping.each(name, images::kHeaderBytes, is_pages || is_ghost ? images::kPageFileHeader : SIZE_MAX, step(),
                  refuses);
    if (is_ghost) flipping.each(name, images::kPageFileHeader + kGhostBytes, SIZE_MAX, step(), refuses);
  }
  RecordProperty("bits", static_cast<int>(flipping.count()));
}

}  // namespace
}  // namespace mcr
