// What an image holds, gathered for those who show it. Nothing in it is believed to fit together; errors as in store.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "images/proto/core.pb.h"
#include "images/proto/files.pb.h"
#include "images/proto/mm.pb.h"
#include "images/store.h"

namespace mcr::images {

// Of content that the image has: where it comes from.
struct ContentSums {
  uint64_t content = 0;                                              // all of it, but what is inherited
  uint64_t raw = 0, zero = 0, repeated = 0, packed = 0, parent = 0;  // of that, by the source of the runs
  uint64_t inherited = 0;  // the same as in the process that has forked this one
  uint64_t stored = 0;     // bytes in files of this image
  void add(const image::PageRun& run, uint64_t stored_bytes);
  void add(const ContentSums& other);
};

struct MappingView {
  image::Vma vma;
  ContentSums sums;  // of private memory
  uint64_t bytes() const { return vma.end() > vma.start() ? vma.end() - vma.start() : 0; }
};

struct SharedView {
  uint64_t size = 0;
  ContentSums sums;
};

struct ProcessView {
  image::ProcessCore core;
  std::vector<std::string> thread_names;  // as many as can be read
  std::vector<image::Descriptor> descriptors;
  std::vector<MappingView> mappings;
  std::map<uint32_t, SharedView> shared;  // described here, whoever uses them too
  uint32_t cwd = 0;                       // object of the working directory
  ContentSums sums;                       // of all of it
  uint64_t mapped() const;
};

struct ImageView {
  image::Inventory inventory;
  std::map<std::string, uint64_t> disk;  // bytes that files of pages take; they have holes. What cannot be asked: none
  std::vector<ProcessView> processes;    // as in the inventory
  std::map<uint32_t, image::FileObject> objects;
};

ImageView view_of(const ImagePlace& place);
uint64_t disk_bytes(const ImageView& image, const image::FileSummary& file);  // at most its size

std::string path_of(const image::FileObject& object);  // empty: it has none
std::string state_of(const image::ProcessCore& core);  // "runs", "stopped by signal 19", "ended with status 1"

// "heap", "stack", "private file", ...: what a mapping is to a person.
std::string kind_of(const image::Vma& vma);

}  // namespace mcr::images
