// One process as the image has it, in memory: filled while the tree stands still, written when it runs again (dump);
// read and checked before anything is created (restore).
#pragma once

#include <vector>

#include "images/proto/core.pb.h"
#include "images/proto/files.pb.h"
#include "images/proto/mm.pb.h"
#include "images/store.h"

namespace mcr::tree {

struct ProcessImage {
  mcr::image::ProcessCore core;
  std::vector<mcr::image::ThreadCore> threads;  // the leader first
  mcr::image::FileSystemContext fs;
  std::vector<mcr::image::Descriptor> descriptors;
  mcr::image::MemoryMap map;
  std::vector<mcr::image::Vma> vmas;
  std::vector<mcr::image::PageRun> runs;
  std::vector<mcr::image::SharedMemory> shared;
  std::vector<mcr::image::AioContext> aio;
};

void write_process(const ProcessImage& process, images::ImageWriter& writer);
// Throws Fault::image when records are missing or do not fit together.
ProcessImage read_process(int32_t pid, const images::ImageReader& reader);

}  // namespace mcr::tree
