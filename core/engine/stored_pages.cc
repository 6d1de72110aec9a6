#include "core/engine/stored_pages.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/engine/dump_process.h"
#include "core/mem/inheritance.h"
#include "core/sys/file.h"
#include "core/tree/inherited_check.h"
#include "images/proto/io_uring.pb.h"

namespace mcr::engine {

Lender find_lender(const trace::FrozenProcess& process, const tree::ProcessImage& image, const DumpContext& context) {
  const auto parent =
      std::ranges::find(context.tree.processes(), process.parent, [](const auto& other) { return other->pid; });
  if (parent == context.tree.processes().end() || (*parent)->zombie) return {};
  return {tree::lender_of(image, context.before), (*parent)->view()};
}

void take_inherited(const Lender& lender, tree::ProcessImage& image, const std::vector<image::Vma>& vmas,
                    std::vector<mem::PageSource>& sources, const sys::Pagemap& pagemap) {
  if (!lender.image) return;
  const sys::Pagemap theirs(lender.view);
  image.inherited = mem::take_inherited(sources, vmas, pagemap,
                                        {lender.image->vmas, lender.image->runs, lender.image->inherited, theirs});
}

std::vector<sys::PageRange> pinned_memory(const kinds::OpenFiles& files) {
  std::vector<sys::PageRange> pinned;
  image::IoUring ring;
  for (const image::FileObject& object : files.objects())
    if (object.body().UnpackTo(&ring))
      for (const auto& buffer : ring.buffers())
        pinned.push_back({buffer.address() / 4096 * 4096, (buffer.address() + buffer.bytes() + 4095) / 4096 * 4096});
  std::ranges::sort(pinned, {}, &sys::PageRange::start);
  return pinned;
}

void finish_pages(images::ImageWriter& files, int pages, const mem::PageWriter& writer, tree::ProcessImage& image) {
  sys::truncate_fd(pages, writer.offset());
  files.add_pages(image.map.pages_file(), pages);
  image.map.set_run_count(image.runs.size());
  image.map.set_inherited_count(image.inherited.size());
}

void count_pages(image::DumpStatistics& statistics, const sys::Pagemap& pagemap, const mem::PageWriter& writer) {
  statistics.set_pages_scanned(statistics.pages_scanned() + pagemap.scanned());
  statistics.set_pages_written(statistics.pages_written() + writer.pages_written());
}

void store_pages_later(const trace::FrozenProcess& process, tree::ProcessImage& image, DumpContext& context) {
  const Step step("process {}", process.pid), memory_step("store memory");
  const Lender lender = find_lender(process, image, context);
  context.late.add([&context, &image, lender, pid = process.view()] {
    const auto start = sys::Clock::now();
    const UniqueFd pages = context.writer.pages(image.map.pages_file());
    const trace::RemoteMemory memory(pid);
    mem::PageWriter writer(memory, pages.get(), images::kPageFileHeader);
    const sys::Pagemap pagemap(pid);
    auto pages_of_its_own = mem::select_pages(pagemap, image.vmas);
    take_inherited(lender, image, image.vmas, pages_of_its_own, pagemap);
    for (const mem::PageSource& source : pages_of_its_own) context.writer.expect(source.bytes);
    image.runs = writer.write(pages_of_its_own);
    finish_pages(context.writer, pages.get(), writer, image);
    count_pages(context.late_statistics, pagemap, writer);
    context.late_statistics.set_memory_us(
        context.late_statistics.memory_us() +
        static_cast<uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(sys::Clock::now() - start).count()));
  });
}

}  // namespace mcr::engine
