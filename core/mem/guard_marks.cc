#include "core/mem/guard_marks.h"

#include <sys/syscall.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/mem/vma_flags.h"
#include "core/sys/pagemap.h"
#include "core/trace/remote_memory.h"

namespace mcr::mem {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kGuardInstall = 102, kGuardRemove = 103;  // MADV_GUARD_INSTALL, MADV_GUARD_REMOVE, 6.13

// One without content, where there is one; else the first.
uint64_t page_for_mark(const image::Vma& vma, const sys::Pagemap& pagemap, bool& has_content) {
  std::vector<sys::PageRange> present, guards;
  pagemap.private_pages(vma.start(), vma.end(), present, guards);
  uint64_t page = vma.start();
  for (const sys::PageRange& range : present)
    if (range.start == page) page = range.end;
  has_content = page == vma.end();
  return has_content ? vma.start() : page;
}

}  // namespace

bool needs_guard_mark(const image::Vma& vma) {
  return vma.kind() == image::Vma::PRIVATE_ANONYMOUS && has_vm_flag(vma, "gu") && vma.guards().empty();
}

void make_guard_marks(inject::NewProcess& process, const RestoreMemory& memory) {
  if (std::ranges::none_of(memory.vmas, needs_guard_mark)) return;
  const Step step("marks of guard pages");
  const sys::Pagemap pagemap(process.pid());
  const trace::RemoteMemory target(process.pid());
  std::vector<std::byte> content(kPage);
  for (const image::Vma& vma : memory.vmas) {
    if (!needs_guard_mark(vma)) continue;
    bool has_content = false;
    const uint64_t page = page_for_mark(vma, pagemap, has_content);
    if (has_content) target.read(RemoteAddr(page), content);
    inject::Batch batch = process.channel().batch();
    for (const uint64_t advice : {kGuardInstall, kGuardRemove})
      batch.try_add("madvise", SYS_madvise, {page, kPage, advice});
    process.channel().run(batch);
    if (has_content) target.write(RemoteAddr(page), content);
  }
}

}  // namespace mcr::mem
