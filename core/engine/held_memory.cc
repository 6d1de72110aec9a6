#include "core/engine/held_memory.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/engine/stored_pages.h"
#include "core/mem/page_writer.h"

namespace mcr::engine {
namespace {

constexpr uint64_t kRoomBytes = 24 << 20;

}  // namespace

void append_unchanged(tree::ProcessImage& image, const std::vector<mem::PageSource>& unchanged) {
  image.runs.reserve(image.runs.size() + unchanged.size());
  for (const mem::PageSource& source : unchanged) {
    image::PageRun& run = image.runs.emplace_back();
    run.set_start(source.start);
    run.set_bytes(source.bytes);
    run.set_source(image::PageRun::PARENT);
  }
}

void HeldMemory::prepare() {
  room_.emplace(kRoomBytes);
}

std::optional<mem::HeldPages> HeldMemory::hold(const trace::RemoteMemory& memory,
                                               const std::vector<mem::PageSource>& sources) {
  return room_ ? room_->take(memory, sources) : std::nullopt;
}

void HeldMemory::add(size_t index, HeldProcess process) {
  entries_.push_back({index, std::move(process)});
}

void HeldMemory::store(std::vector<tree::ProcessImage>& images, images::ImageWriter& writer,
                       image::DumpStatistics& statistics) {
  for (const auto& [index, process] : entries_) {
    tree::ProcessImage& image = images[index];
    const Step step("process {}", image.core.pid()), memory_step("store memory");
    std::erase_if(image.runs, [](const image::PageRun& run) { return run.shared() == 0; });
    append_unchanged(image, process.unchanged);
    mem::PageWriter pages(process.pages, process.file.get(), process.offset);
    for (image::PageRun& run : pages.write(process.pages.sources())) image.runs.push_back(std::move(run));
    // By address, what is shared last.
    std::ranges::stable_sort(image.runs, {}, [](const auto& run) { return std::pair{run.shared(), run.start()}; });
    finish_pages(writer, process.file.get(), pages, image);
    statistics.set_pages_written(statistics.pages_written() + pages.pages_written());
  }
  entries_.clear();
  room_.reset();
}

}  // namespace mcr::engine
