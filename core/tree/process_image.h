// One process as the image has it, in memory: filled while the tree stands still, written when it runs again (dump);
// read and checked before anything is created (restore).
#pragma once

#include <span>
#include <vector>

#include "core/tree/creation_plan.h"
#include "images/proto/core.pb.h"
#include "images/proto/files.pb.h"
#include "images/proto/mm.pb.h"
#include "images/store.h"

namespace mcr::tree {

struct BorrowedMemory {
  int32_t lender = 0;  // pid
  mcr::image::SharedMemory memory;
};

struct ProcessImage {
  mcr::image::ProcessCore core;
  std::vector<mcr::image::ThreadCore> threads;  // the leader first
  mcr::image::FileSystemContext fs;
  std::vector<mcr::image::Descriptor> descriptors;
  mcr::image::MemoryMap map;
  std::vector<mcr::image::Vma> vmas;
  std::vector<mcr::image::PageRun> runs;
  std::vector<mcr::image::InheritedPages> inherited;
  std::vector<mcr::image::SharedMemory> shared;  // stored with this process
  std::vector<BorrowedMemory> borrowed;          // mapped here, stored with a process before this one
  std::vector<mcr::image::AioContext> aio;
  // For each kind the process before this one with which it is stored; 0: with this one. Of those, memory and
  // directories are there as well (map, vmas, fs), descriptors and content are not.
  std::array<int32_t, kShared.size()> shared_with{};

  bool has_own(Shared what) const { return shared_with[static_cast<size_t>(what)] == 0; }
};

void write_process(const ProcessImage& process, images::ImageWriter& writer);
// `before`: the processes that come before it in the inventory. Throws Fault::image when records are missing or do not
// fit together.
ProcessImage read_process(int32_t pid, const images::ImageReader& reader, std::span<const ProcessImage> before = {});

}  // namespace mcr::tree
