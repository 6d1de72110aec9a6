#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/base/page_buffer.h"
#include "core/sys/file.h"
#include "images/format.h"
#include "images/memory_check.h"
#include "images/messages.h"
#include "images/page_content.h"
#include "images/proto/core.pb.h"
#include "images/proto/files.pb.h"

namespace mcr::images {
namespace {

class Verification {
 public:
  explicit Verification(const ImagePlace& place) : reader_(place), content_(reader_) {}
  VerifyReport run();

 private:
  void check_records(const std::string& name);
  void visit(const google::protobuf::Message& message, const std::string& name, uint64_t record, MemoryCheck& memory);
  void add_ghost(const image::Ghost& ghost, const std::string& name, uint64_t record);
  void check_pages(const image::FileSummary& file);
  void check_other_runs();
  void check_references() const;

  struct Reference {
    uint32_t id;
    std::string from;
  };
  ImageReader reader_;
  PageContent content_;
  VerifyReport report_;
  PageUse use_;
  std::set<uint32_t> objects_;
  std::vector<Reference> references_;
};

template <typename M>
const M* as(const google::protobuf::Message& message) {
  return message.GetDescriptor() == M::descriptor() ? static_cast<const M*>(&message) : nullptr;
}

bool is_page_file(const image::FileSummary& file) {
  return file.checksum() == 0;
}

uint64_t page_size_of(const image::Inventory& inventory) {
  return inventory.page_size() ? inventory.page_size() : 4096;
}

VerifyReport Verification::run() {
  const auto& files = reader_.inventory().files();
  for (const auto& file : files) {
    if (!is_page_file(file)) check_records(file.name());
  }
  check_shared_runs(use_, page_size_of(reader_.inventory()));
  if (!reader_.inventory().memory_only()) check_references();
  check_other_runs();
  const auto& streams = reader_.inventory().streams();
  for (const auto& file : files) {
    if (is_page_file(file) && std::ranges::find(streams, file.name()) == streams.end()) check_pages(file);
    report_.bytes += file.size();
  }
  report_.files = static_cast<uint64_t>(files.size()) + 1;  // and the inventory, with its one record
  report_.records += 1;
  // What remains was named by a record, but is no pages file of this image.
  for (const auto& [name, extents] : use_.extents)
    throw Error(Fault::image,
                fmt::format("{} lies in \"{}\", which the inventory does not list as a file of pages",
                            extents.front().owner, name),
                "the image is damaged: use another copy");
  return report_;
}

void Verification::check_records(const std::string& name) {
  RecordReader reader = reader_.records(name);
  MemoryCheck memory(name, page_size_of(reader_.inventory()), use_);
  uint32_t expected_threads = 0, threads = 0;
  while (reader.next_type()) {
    const uint64_t record = reader.offset();
    const auto message = reader.read_any();
    visit(*message, name, record, memory);
    if (const auto* core = as<image::ProcessCore>(*message)) expected_threads += core->thread_count();
    if (as<image::ThreadCore>(*message)) ++threads;
    ++report_.records;
  }
  memory.finish();
  if (threads != expected_threads)
    throw_damaged(name, kHeaderBytes, fmt::format("{} threads, but {} are counted", threads, expected_threads));
}

void Verification::visit(const google::protobuf::Message& message, const std::string& name, uint64_t record,
                         MemoryCheck& memory) {
  if (const auto* map = as<image::MemoryMap>(message)) {
    memory.add(*map, record);
    if (map->exe_file()) references_.push_back({map->exe_file(), name + " (the executable)"});
  } else if (const auto* vma = as<image::Vma>(message)) {
    memory.add(*vma, record);
    if (vma->file()) references_.push_back({vma->file(), fmt::format("{} (mapping {:#x})", name, vma->start())});
  } else if (const auto* run = as<image::PageRun>(message)) {
    memory.add(*run, record);
  } else if (const auto* pages = as<image::InheritedPages>(message)) {
    memory.add(*pages, record);
  } else if (const auto* shared = as<image::SharedMemory>(message)) {
    if (!use_.shared_sizes.emplace(shared->id(), shared->size()).second)
      throw_damaged(name, record, fmt::format("shared memory {} is described twice", shared->id()));
  } else if (const auto* object = as<image::FileObject>(message)) {
    if (!objects_.insert(object->id()).second)
      throw_damaged(name, record, fmt::format("file object {} is described twice", object->id()));
  } else if (const auto* descriptor = as<image::Descriptor>(message)) {
    references_.push_back({descriptor->file(), fmt::format("{} (fd {})", name, descriptor->fd())});
  } else if (const auto* context = as<image::FileSystemContext>(message)) {
    references_.push_back({context->cwd_file(), name + " (the working directory)"});
    if (context->root_file()) references_.push_back({context->root_file(), name + " (the root directory)"});
  } else if (const auto* ghost = as<image::Ghost>(message)) {
    add_ghost(*ghost, name, record);
  }
}

void Verification::add_ghost(const image::Ghost& ghost, const std::string& name, uint64_t record) {
  for (const auto& extent : ghost.extents()) {
    if (extent.file_offset() > ghost.size() || extent.bytes() > ghost.size() - extent.file_offset())
      throw_damaged(name, record, fmt::format("an extent of ghost {} lies outside its file", ghost.id()));
    use_.extents[ghost.content_file()].push_back(
        {extent.offset(),
         extent.bytes(),
         extent.chunk_bytes(),
         {extent.checksums().begin(), extent.checksums().end()},
         fmt::format("the extent at {} of ghost {} of {}", extent.file_offset(), ghost.id(), name)});
  }
}

// What lies in the parent image is not read here.
void Verification::check_other_runs() {
  std::vector<std::vector<StreamPlace>> places(content_.stream_sizes().size());
  PageBuffer buffer(kChunkBytes);
  for (const auto& [owner, run, text] : use_.other_runs) {
    content_.check_shape(owner, run);
    if (!is_in_stream(run)) continue;
    for (int i = 0; i < run.chunk_streams_size(); ++i)
      places[run.chunk_streams(i)].emplace_back(run.chunk_offsets(i), run.chunk_stored(i));
    const uint64_t bytes = run.source() == image::PageRun::REPEATED ? run.chunk_bytes() : run.bytes();
    for (uint64_t done = 0; done < bytes; done += run.chunk_bytes())
      content_.read(owner, run, run.start() + done,
                    std::span(buffer).first(std::min<uint64_t>(run.chunk_bytes(), bytes - done)));
  }
  for (uint32_t i = 0; i < places.size(); ++i)
    check_stream(content_.stream_name(i), content_.stream_sizes()[i], std::move(places[i]));
}

void Verification::check_references() const {
  for (const Reference& reference : references_) {
    if (!objects_.contains(reference.id))
      throw Error(
          Fault::image,
          fmt::format("{} refers to file object {}, which the image does not describe", reference.from, reference.id),
          "the image is damaged: use another copy");
  }
}

void Verification::check_pages(const image::FileSummary& file) {
  const PageFile pages = reader_.pages(file.name());
  auto extents = use_.extents.extract(file.name());
  check_page_file(pages, file.name(), file.size(), extents ? std::move(extents.mapped()) : std::vector<PageExtent>());
}

}  // namespace

VerifyReport verify(const ImagePlace& place) {
  return Verification(place).run();
}

}  // namespace mcr::images
