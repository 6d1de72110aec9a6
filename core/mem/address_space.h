// The mappings of a process as the image knows them. Both directions: collected from smaps, rebuilt in a new process.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/base/obstacles.h"
#include "core/base/progress.h"
#include "core/inject/new_process.h"
#include "core/inject/session.h"
#include "core/mem/shared_objects.h"
#include "core/procfs/maps.h"
#include "images/page_content.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

// Memory of a ring of io_uring(7): mapped from its descriptor, by its inode.
bool is_ring(const procfs::Mapping& mapping);

// Whether all its pages are those of MADV_FREE, not written since.
bool is_lazily_freed(const mcr::image::Vma& vma, const procfs::Mapping& mapping);

// Finds or enters the file object of a mapped file, or the System V segment; returns its id in files.img, 0 for a
// segment.
using FileOf = std::function<uint32_t(const procfs::Mapping&, bool writable)>;

struct SharedObject {  // anonymous shared memory whose content this process stores, found through one of its mappings
  uint32_t id = 0;
  uint64_t map_start = 0, map_end = 0;  // names it under /proc/PID/map_files
  uint32_t huge_page_shift = 0;
};

struct AddressSpace {
  std::vector<mcr::image::Vma> vmas;  // in address order, without the parasite and vsyscall
  std::vector<SharedObject> shared;
  uint64_t vdso_address = 0, vdso_size = 0, vvar_address = 0;
};

// Refuses by name what cannot be kept yet: before the freeze, with a FileOf that only looks.
void look_at_address_space(const std::vector<procfs::Mapping>& mappings, const FileOf& file_of, Obstacles& obstacles);
// Refuses the same, frozen, and collects.
AddressSpace collect_address_space(const std::vector<procfs::Mapping>& mappings, const FileOf& file_of,
                                   SharedObjects& shared);

// ---- restore ----

// An address range free in both address spaces, so that the parasite survives the exchange of one for the other.
uint64_t find_hole(const std::vector<procfs::Mapping>& ours, const std::vector<mcr::image::Vma>& wanted,
                   uint64_t bytes);
struct AddressRange {
  uint64_t start = 0, end = 0;
};
uint64_t find_hole(std::vector<AddressRange> taken, uint64_t bytes);

struct RestoreMemory {
  const mcr::image::MemoryMap& map;
  const std::vector<mcr::image::Vma>& vmas;
  const std::vector<mcr::image::PageRun>& runs;
  const std::vector<mcr::image::InheritedPages>& inherited;
  const std::vector<mcr::image::SharedMemory>& shared;  // to be made
  // Those that processes before this one have made, and descriptors of them here.
  std::vector<std::pair<mcr::image::SharedMemory, int>> borrowed;
  std::map<uint32_t, int> files;            // file object id -> descriptor number in the new process
  const images::PageFile* pages = nullptr;  // here
  int remote_pages_fd = -1;                 // there
  std::string pages_name;
  // System V segments: make it or find it, true for the first process; its bytes; put the content where it is attached.
  std::function<bool(int32_t)> prepare_segment;
  std::function<uint64_t(int32_t)> segment_bytes;
  std::function<void(int32_t, uint64_t)> fill_segment;
  // Of shared memory that was just made, mapped as a whole: processes that come later may want it.
  std::function<void(const mcr::image::SharedMemory&, uint64_t start, uint64_t end)> lend_shared;
  // By mapping; empty: none. Those that the process has been born with, with the pages it has inherited, and those that
  // are left as they are: mapped and filled already, or not yet to be.
  std::vector<bool> born_with{}, ready{};
  std::vector<bool> late{};                      // those whose pages come when the process runs (late_pages.h)
  bool release = false;                          // give the pages of the pages file back once they are in place
  Progress* progress = nullptr;                  // bytes that are in place
  int32_t pid = 0;                               // as the image calls it
  const images::PageContent* content = nullptr;  // of the runs
  unsigned threads = 0;                          // that fill at once; 0: as many as there is work for
};

// What a new process has of its creator's memory, but for the parasites, the kernel's pages and `keep`.
void drop_inherited_mappings(inject::NewProcess& process, const std::vector<procfs::Mapping>& kernel_pages,
                             std::vector<AddressRange> keep);
// Those that are not ready, private ones, as they are to be cloned from here.
void map_for_children(inject::NewProcess& process, const RestoreMemory& memory);
void map_all(inject::NewProcess& process, const RestoreMemory& memory);
// After filling: what keeps neighbours apart, protections, advice, guard pages, locks; seals last of all.
void protect_all(inject::NewProcess& process, const RestoreMemory& memory);
// PR_SET_MM_MAP: code, data, heap, stack, arguments, environment, auxiliary vector, exe link.
void add_memory_map(inject::Batch& batch, const mcr::image::MemoryMap& map, int remote_exe_fd);

}  // namespace mcr::mem
