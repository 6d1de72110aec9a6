// Makes a seed of the target "restore" from an image: fuzz-seeds IMAGE SEED. Pages become zeros.
#include <cstdio>
#include <fstream>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/format.h"
#include "images/store.h"
#include "tests/fuzz/seam/image_folder.h"

namespace {

using namespace mcr;

void add_pages(fuzz::ImageBytes& seed, const image::FileSummary& file) {
  fuzz::Frame frame{file.name(), {}, {}};
  images::append_number(frame.payload, uint64_t{file.size() - images::kPageFileHeader});
  seed.frames.push_back(std::move(frame));
}

void add_records(fuzz::ImageBytes& seed, const images::ImageReader& reader, const std::string& name) {
  auto records = reader.records(name);
  while (const auto type = records.next_type())
    seed.frames.push_back({name, *type, records.read_any()->SerializeAsString()});
}

void make_seed(const std::string& directory, const std::string& to) {
  const images::ImageReader reader(directory);
  fuzz::ImageBytes seed;
  image::Inventory inventory = reader.inventory();
  inventory.clear_files();
  inventory.mutable_cpu()->clear_features();  // of the machine that it was made on
  seed.frames.push_back({images::kInventoryName, fuzz::kInventoryType, inventory.SerializeAsString()});
  for (const auto& file : reader.inventory().files())
    file.checksum() == 0 ? add_pages(seed, file) : add_records(seed, reader, file.name());
  std::ofstream(to, std::ios::binary) << fuzz::serialize(seed);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: fuzz-seeds IMAGE SEED\n"), 2;
  try {
    make_seed(argv[1], argv[2]);
  } catch (const mcr::Error& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
  }
  return 0;
}
