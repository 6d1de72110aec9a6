// Runs a fuzz target over every file of a corpus, and over systematic damages of each: cut short at many places, bits
// flipped, bytes set to their limits, pieces doubled. Same result every time.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// What a target brings that knows its format.
extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t limit,
                                                                unsigned seed);

namespace {

using Bytes = std::vector<uint8_t>;

size_t runs = 0;

void run(const Bytes& bytes) {
  // A heap block of exactly this size, so that the sanitizer sees the first byte read behind it.
  Bytes exact(bytes.begin(), bytes.end());
  exact.shrink_to_fit();
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  ++runs;
}

void run_mutated(const Bytes& original, std::mt19937& random, std::chrono::steady_clock::time_point end) {
  for (int i = 0; i < 400 && std::chrono::steady_clock::now() < end; ++i) {
    Bytes bytes = original;
    bytes.resize(original.size() + 4096);
    size_t size = original.size();
    for (int changes = 1 + i % 4; changes > 0; --changes)
      size = LLVMFuzzerCustomMutator(bytes.data(), size, bytes.size(), static_cast<unsigned>(random()));
    bytes.resize(size);
    run(bytes);
  }
}

void run_damaged(const Bytes& original, std::mt19937& random, std::chrono::steady_clock::time_point end) {
  if (LLVMFuzzerCustomMutator != nullptr) return run_mutated(original, random, end);
  size_t step = std::max<size_t>(1, original.size() / 200);
  for (size_t size = 0; size < original.size() && std::chrono::steady_clock::now() < end; size += step)
    run(Bytes(original.begin(), original.begin() + static_cast<long>(size)));
  for (int i = 0; i < 400 && !original.empty() && std::chrono::steady_clock::now() < end; ++i) {
    Bytes bytes = original;
    size_t at = random() % bytes.size();
    switch (i % 4) {
      case 0:
        bytes[at] ^= static_cast<uint8_t>(1u << random() % 8);
        break;
      case 1:
        bytes[at] = random() % 2 ? 0xff : 0;
        break;
      case 2: {
        size_t length = std::min<size_t>(bytes.size() - at, 1 + random() % 16);
        Bytes piece(bytes.begin() + static_cast<long>(at), bytes.begin() + static_cast<long>(at + length));
        bytes.insert(bytes.begin() + static_cast<long>(at), piece.begin(), piece.end());
        break;
      }
      default:
        for (size_t k = at; k < std::min(bytes.size(), at + 8); ++k) bytes[k] = static_cast<uint8_t>(random());
    }
    run(bytes);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i]))
        if (entry.is_regular_file()) files.push_back(entry.path());
    } else if (std::filesystem::exists(argv[i])) {
      files.emplace_back(argv[i]);
    }
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::printf("the corpus is empty\n");
    return 1;
  }
  run({});
  std::mt19937 random(1);
  auto start = std::chrono::steady_clock::now();
  auto share = std::chrono::duration<double>(60.0 / static_cast<double>(files.size()));
  for (const auto& path : files) {
    std::ifstream stream(path, std::ios::binary);
    Bytes bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    run(bytes);
    auto now = std::chrono::steady_clock::now();
    run_damaged(bytes, random, now + std::chrono::duration_cast<std::chrono::steady_clock::duration>(share));
  }
  std::printf("%zu files, %zu runs, %.1f s\n", files.size(), runs,
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return 0;
}
