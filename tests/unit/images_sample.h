// A small whole image and the means to damage it, for the tests of the image store.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/proto/core.pb.h"
#include "images/proto/facets.pb.h"
#include "images/proto/files.pb.h"
#include "images/proto/mm.pb.h"
#include "images/store.h"

namespace mcr::images::sample {

// A fresh folder in memory where there is one: some tests write it hundreds of times.
class Folder {
 public:
  Folder() {
    const bool shm = std::filesystem::is_directory("/dev/shm");
    std::string pattern = std::string(shm ? "/dev/shm" : "/tmp") + "/mcr-images-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path(const std::string& name = {}) const { return name.empty() ? path_ : path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_content(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// The text of the Error that `action` throws; empty when it throws none.
template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

inline void write_core(ImageWriter& writer, int pid, const std::string& command) {
  image::ProcessCore core;
  core.set_pid(pid);
  core.set_command(command);
  core.set_thread_count(1);
  image::SignalActions actions;
  actions.add_actions()->set_signal(15);
  core.add_facets()->PackFrom(actions);
  image::ThreadCore thread;
  thread.set_tid(pid);
  thread.set_name(command);
  thread.set_registers(std::string(27 * 8, 'r'));
  RecordWriter records = writer.records("core-" + std::to_string(pid) + ".img");
  records.append(core);
  records.append(thread);
  records.finish();
  writer.add(records);
}

inline void write_files(ImageWriter& writer, int pid, const std::string& path = "/tmp/data") {
  image::RegularFile file;
  file.set_path(path);
  image::FileObject object;
  object.set_id(1);
  object.set_kind("regular_file");
  object.mutable_body()->PackFrom(file);
  RecordWriter records = writer.records("files.img");
  records.append(object);
  records.finish();
  writer.add(records);
  image::Descriptor descriptor;
  descriptor.set_file(1);
  RecordWriter descriptors = writer.records("fdinfo-" + std::to_string(pid) + ".img");
  descriptors.append(descriptor);
  descriptors.finish();
  writer.add(descriptors);
}

inline constexpr uint64_t kPage = 512;  // small, as some tests try every bit

// Two pages with a page of zeros between them that belongs to no run.
inline void write_memory(ImageWriter& writer, int pid) {
  const UniqueFd pages = writer.pages("pages-1.img");
  const std::string first(kPage, 'a'), second(kPage, 'b');
  sys::pwrite_fully(pages.get(), first.data(), first.size(), kPageFileHeader);
  sys::pwrite_fully(pages.get(), second.data(), second.size(), kPageFileHeader + 2 * kPage);
  writer.add_pages("pages-1.img", pages.get());
  image::MemoryMap map;
  map.set_pages_file("pages-1.img");
  map.set_vma_count(1);
  map.set_run_count(2);
  image::Vma vma;
  vma.set_start(0x10000);
  vma.set_end(0x20000);
  RecordWriter records = writer.records("mm-" + std::to_string(pid) + ".img");
  records.append(map);
  records.append(vma);
  for (const std::string* page : {&first, &second}) {
    image::PageRun run;
    run.set_start(page == &first ? 0x10000 : 0x13000);
    run.set_bytes(page->size());
    run.set_offset(page == &first ? kPageFileHeader : kPageFileHeader + 2 * kPage);
    run.set_chunk_bytes(kChunkBytes);
    run.add_checksums(checksum_of(page->data(), page->size()));
    records.append(run);
  }
  records.finish();
  writer.add(records);
}

inline image::Inventory inventory_of(int pid, const std::string& host) {
  image::Inventory inventory;
  inventory.set_host(host);
  inventory.set_architecture("x86_64");
  inventory.set_page_size(kPage);
  inventory.set_root_pid(pid);
  inventory.add_pids(pid);
  return inventory;
}

// `host` tells images apart that are written to one folder.
inline void write_image(const std::string& directory, const std::string& host = "host", int pid = 12,
                        bool sync = false) {
  ImageWriter writer(directory, sync);
  write_core(writer, pid, "cat");
  write_files(writer, pid);
  write_memory(writer, pid);
  writer.commit(inventory_of(pid, host));
}

}  // namespace mcr::images::sample
