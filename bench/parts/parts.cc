// parts-bench: pieces of the engine by themselves, in this process. For whole engines see bench/compare.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "core/procfs/maps.h"
#include "images/proto/mm.pb.h"
#include "images/store.h"

namespace {

std::string smaps_text(int64_t mappings) {
  std::string text;
  for (int64_t i = 0; i < mappings; ++i) {
    char line[128];
    snprintf(line, sizeof line, "%lx-%lx rw-p 00000000 00:00 0 \n", 0x7f0000000000 + i * 8192,
             0x7f0000001000 + i * 8192);
    text += line;
    text +=
        "Size:                  4 kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\nRss:                   "
        "4 kB\n"
        "Pss:                   4 kB\nAnonymous:             4 kB\nLazyFree:              0 kB\nTHPeligible:           "
        "0\n"
        "ProtectionKey:         0\nVmFlags: rd wr mr mw me ac sd \n";
  }
  return text;
}

mcr::image::Vma record(int64_t number) {
  mcr::image::Vma vma;
  vma.set_start(0x7f0000000000 + static_cast<uint64_t>(number) * 8192);
  vma.set_end(vma.start() + 4096);
  vma.set_prot(3);
  for (const char* flag : {"rd", "wr", "mr", "mw", "me", "ac"}) vma.add_vm_flags(flag);
  return vma;
}

std::string written(int64_t records) {
  std::string bytes;
  mcr::images::RecordWriter writer(
      [&bytes](const void* data, size_t size) { bytes.append(static_cast<const char*>(data), size); }, "mm-1.img",
      std::string(16, 'x'));
  for (int64_t i = 0; i < records; ++i) writer.append(record(i));
  writer.finish();
  return bytes;
}

void checksum_of_pages(benchmark::State& state) {
  const std::vector<char> bytes(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(mcr::images::checksum_of(bytes.data(), bytes.size()));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(checksum_of_pages)->Arg(4096)->Arg(1 << 20)->Arg(64 << 20);

void parse_smaps(benchmark::State& state) {
  const std::string text = smaps_text(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(mcr::procfs::parse_smaps(text));
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetComplexityN(state.range(0));
}
BENCHMARK(parse_smaps)->RangeMultiplier(10)->Range(10, 100'000)->Complexity();

void write_records(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(written(state.range(0)));
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetComplexityN(state.range(0));
}
BENCHMARK(write_records)->RangeMultiplier(10)->Range(10, 100'000)->Complexity();

void read_records(benchmark::State& state) {
  const std::string bytes = written(state.range(0));
  for (auto _ : state) {
    mcr::images::RecordReader reader(bytes, "mm-1.img");
    int64_t count = 0;
    for (; reader.next_type(); ++count) benchmark::DoNotOptimize(reader.read<mcr::image::Vma>());
    if (count != state.range(0)) state.SkipWithError("records were lost");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetComplexityN(state.range(0));
}
BENCHMARK(read_records)->RangeMultiplier(10)->Range(10, 100'000)->Complexity();

}  // namespace

BENCHMARK_MAIN();
