// The pages of a process, from wherever they are read: what stays with its parent, and what is noted when all are
// stored.
#pragma once

#include "core/kinds/open_files.h"
#include "core/mem/page_writer.h"
#include "core/sys/pagemap.h"
#include "core/trace/frozen_tree.h"
#include "core/tree/process_image.h"
#include "images/proto/stats.pb.h"
#include "images/store.h"

namespace mcr::engine {

struct DumpContext;

// Of whom pages may stay with the parent, which stands still and is stored already.
struct Lender {
  const tree::ProcessImage* image = nullptr;  // null: nobody
  HostPid view;
};

Lender find_lender(const trace::FrozenProcess& process, const tree::ProcessImage& image, const DumpContext& context);
// Takes what stays with the parent out of `sources`. Any thread.
void take_inherited(const Lender& lender, tree::ProcessImage& image, const std::vector<mcr::image::Vma>& vmas,
                    std::vector<mem::PageSource>& sources, const sys::Pagemap& pagemap);

// What the kernel writes to without the page tables: buffers that are registered with a ring of io_uring(7).
std::vector<sys::PageRange> pinned_memory(const kinds::OpenFiles& files);

// Of which nothing is put into the program any more. `image` stays where it is until context.late is finished.
void store_pages_later(const trace::FrozenProcess& process, tree::ProcessImage& image, DumpContext& context);

// Any thread. Enters the file of pages into the image; the image of the process has its runs.
void finish_pages(images::ImageWriter& files, int pages, const mem::PageWriter& writer, tree::ProcessImage& image);
void count_pages(mcr::image::DumpStatistics& statistics, const sys::Pagemap& pagemap, const mem::PageWriter& writer);

}  // namespace mcr::engine
