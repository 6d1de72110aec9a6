#include "core/engine/copied_memory.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/engine/early_mappings.h"
#include "core/engine/stored_pages.h"
#include "core/mem/inheritance.h"
#include "core/sys/file.h"
#include "core/tree/inherited_check.h"

namespace mcr::engine {

bool CopiedMemory::would_be_adopted(const trace::FrozenTree& tree, HostPid pid) const {
  for (;;) {
    if (adopters_.contains(pid)) return true;
    const auto found = std::ranges::find(tree.processes(), pid, [](const auto& process) { return process->pid; });
    if (found == tree.processes().end()) return false;
    pid = (*found)->parent;
  }
}

void CopiedMemory::add(size_t index, CopiedProcess process) {
  entries_.push_back({index, std::move(process)});
}

void CopiedMemory::store(std::vector<tree::ProcessImage>& images, images::ImageWriter& writer,
                         mcr::image::DumpStatistics& statistics, const mem::OtherFiles& others) {
  for (const Entry& entry : entries_) {
    const Step step("process {}", images[entry.index].core.pid());
    const Step copy_step("store the copy of its memory");
    try {
      store_one(entry, images, writer, statistics, others);
    } catch (const Error&) {
      // What it then says of the memory is not the reason.
      if (entry.process.copy->is_whole()) throw;
    }
    if (!entry.process.copy->is_whole())
      throw Error(
          Fault::system, "the copy of the memory was ended from outside",
          "it goes first when memory is short: make room for what the program writes meanwhile, or dump without "
          "--live");
  }
  entries_.clear();
}

const CopiedMemory::Entry* CopiedMemory::entry_of(const tree::ProcessImage* image,
                                                  const std::vector<tree::ProcessImage>& images) const {
  const auto found = std::ranges::find_if(entries_, [&](const Entry& e) { return &images[e.index] == image; });
  return found == entries_.end() ? nullptr : &*found;
}

void CopiedMemory::store_one(const Entry& entry, std::vector<tree::ProcessImage>& images, images::ImageWriter& writer,
                             mcr::image::DumpStatistics& statistics, const mem::OtherFiles& others) {
  tree::ProcessImage& image = images[entry.index];
  const CopiedProcess& process = entry.process;
  if (process.has_early_mappings) correct_mappings(image, process.copy->pid(), process.copied);
  const sys::Pagemap pagemap(process.copy->pid());
  auto sources = mem::select_pages(pagemap, image.vmas,
                                   [&](const image::Vma& vma) { return process.copied.contains(vma.start()); });
  const tree::ProcessImage* lender = tree::lender_of(image, images);
  if (const Entry* from = lender ? entry_of(lender, images) : nullptr) {
    const sys::Pagemap theirs(from->process.copy->pid());
    image.inherited =
        mem::take_inherited(sources, image.vmas, pagemap, {lender->vmas, lender->runs, lender->inherited, theirs});
  }
  const trace::RemoteMemory memory(process.copy->pid());
  mem::PageWriter pages(memory, process.pages.get(), process.offset, others);
  pages.on_stored([&](uint64_t end) { writer.stored(image.map.pages_file(), process.pages.get(), end); });
  for (const mem::PageSource& source : sources) writer.expect(source.bytes);
  for (auto& run : pages.write(sources)) image.runs.push_back(std::move(run));
  // By address, what is shared last.
  std::ranges::stable_sort(image.runs, {}, [](const auto& run) { return std::pair{run.shared(), run.start()}; });
  finish_pages(writer, process.pages.get(), pages, image);
  count_pages(statistics, pagemap, pages);
}

}  // namespace mcr::engine
