#include "images/merge.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/format.h"
#include "images/merged_pages.h"
#include "images/messages.h"
#include "images/page_content.h"
#include "images/parent_chain.h"
#include "images/proto/mm.pb.h"
#include "images/store.h"

namespace mcr::images {
namespace {

using image::PageRun;

constexpr char kDamaged[] = "the image is damaged or was made by a faulty program";

class Merge {
 public:
  Merge(const std::string& directory, const std::string& to, bool sync);
  MergeReport run();

 private:
  void copy_records(const std::string& name);
  void copy_memory(const std::string& name, int32_t pid);
  void copy_pages(const image::FileSummary& file);
  MergedPages& pages_of(const std::string& pages_file);
  std::vector<PageRun> merged(const PageRun& run, const MemoryOwner& owner);

  ImageReader reader_;
  std::unique_ptr<ParentChain> chain_;
  PageContent content_;
  ImageWriter writer_;
  uint64_t page_size_;
  std::map<std::string, MergedPages> pages_;  // by their files
  MergeReport report_;
};

uint64_t page_size_of(const image::Inventory& inventory) {
  const uint64_t size = inventory.page_size();
  if (size == 0) return 4096;
  if (size > kChunkBytes || kChunkBytes % size != 0 || kPageFileHeader % size != 0)
    throw Error(Fault::image, fmt::format("{}: pages of {} bytes are impossible", kInventoryName, size), kDamaged);
  return size;
}

void require_another_folder(const std::vector<std::string>& chain, const std::string& to) {
  std::error_code none;
  for (const std::string& directory : chain)
    if (std::filesystem::equivalent(directory, to, none))
      throw Error(Fault::refused, fmt::format("{} holds an image that is to be merged", to),
                  "give the folder of a new image with -o");
  // Whatever is there: it may be an image that others build upon.
  if (std::filesystem::exists(to, none) && !std::filesystem::is_empty(to, none))
    throw Error(Fault::refused, fmt::format("{} is there already, and is not an empty folder", to),
                "give the folder of a new image with -o");
}

std::vector<std::string> folders_of(const std::string& directory, const ParentChain* chain) {
  std::vector<std::string> all = chain ? chain->directories() : std::vector<std::string>();
  all.push_back(directory);
  return all;
}

Merge::Merge(const std::string& directory, const std::string& to, bool sync)
    : reader_(directory),
      chain_(ParentChain::of(reader_)),
      content_(reader_),
      writer_((require_another_folder(folders_of(directory, chain_.get()), to), to), sync),
      page_size_(page_size_of(reader_.inventory())) {
  if (chain_) chain_->check_runs(reader_);
  report_.images = 1 + (chain_ ? chain_->directories().size() : 0);
}

MergedPages& Merge::pages_of(const std::string& pages_file) {
  const auto found = pages_.find(pages_file);
  if (found != pages_.end()) return found->second;
  reader_.pages(pages_file);  // it is a file of pages of this image
  return pages_.try_emplace(pages_file, writer_.pages(pages_file), page_size_).first->second;
}

std::vector<PageRun> Merge::merged(const PageRun& run, const MemoryOwner& owner) {
  MergedPages& pages = pages_of(owner.pages_file);
  pages.begin(run.shared());
  if (run.bytes() == 0 || run.bytes() > UINT64_MAX - run.start())
    throw Error(Fault::image, fmt::format("mm-{}.img: the run at {:#x} is impossible", owner.pid, run.start()),
                kDamaged);
  if (run.source() != PageRun::PARENT) {
    pages.append(content_, owner, run, run.start(), run.bytes());
    return pages.take_runs();
  }
  if (!chain_ || run.shared() != 0)
    throw Error(
        Fault::image,
        fmt::format("mm-{}.img: the run at {:#x} lies in a parent image, where it cannot be", owner.pid, run.start()),
        kDamaged);
  for (uint64_t done = 0; done < run.bytes();) {
    const auto place = chain_->find(owner.pid, run.start() + done, run.bytes() - done);
    const Step step("{}", place.content->reader().directory());
    pages.append(*place.content, place.owner, *place.run, run.start() + done, place.bytes);
    done += place.bytes;
  }
  return pages.take_runs();
}

// The map comes first and counts the runs, which are known when all of them were read.
void Merge::copy_memory(const std::string& name, int32_t pid) {
  const Step step("{}", name);
  image::MemoryMap map;
  std::vector<std::unique_ptr<google::protobuf::Message>> all;
  uint64_t runs = 0;
  RecordReader records = reader_.records(name);
  if (!records.at<image::MemoryMap>()) throw_damaged(name, records.offset(), "it does not begin with a memory map");
  records.read_into(map);
  const MemoryOwner owner{pid, map.pages_file()};
  while (records.next_type()) {
    auto message = records.read_any();
    if (message->GetDescriptor() != PageRun::descriptor()) {
      all.push_back(std::move(message));
      continue;
    }
    for (PageRun& run : merged(static_cast<const PageRun&>(*message), owner)) {
      all.push_back(std::make_unique<PageRun>(std::move(run)));
      ++runs;
    }
  }
  if (const auto found = pages_.find(owner.pages_file); found != pages_.end()) found->second.forget();
  map.set_run_count(runs);
  RecordWriter to = writer_.records(name);
  to.append(map);
  for (const auto& message : all) to.append(*message);
  to.finish();
  writer_.add(to);
}

void Merge::copy_records(const std::string& name) {
  RecordReader records = reader_.records(name);
  RecordWriter to = writer_.records(name);
  while (records.next_type()) to.append(*records.read_any());
  to.finish();
  writer_.add(to);
}

// Of deleted files and the like: their extents say where things lie, and carry the checksums.
void Merge::copy_pages(const image::FileSummary& file) {
  const Step step("{}", file.name());
  const PageFile from = reader_.pages(file.name());
  const UniqueFd to = writer_.pages(file.name());
  std::vector<char> piece(kChunkBytes);
  for (uint64_t at = kPageFileHeader; at < file.size();) {
    const size_t n = sys::pread_some(from.get(), piece.data(), std::min<uint64_t>(piece.size(), file.size() - at), at);
    if (n == 0) throw_damaged(file.name(), at, "the file became shorter while it was read");
    sys::pwrite_fully(to.get(), piece.data(), n, at);
    at += n;
  }
  writer_.add_pages(file.name(), to.get());
}

MergeReport Merge::run() {
  const auto& files = reader_.inventory().files();
  const auto& streams = reader_.inventory().streams();
  std::map<std::string, int32_t> memories;
  for (const int32_t pid : reader_.inventory().pids()) memories.emplace(fmt::format("mm-{}.img", pid), pid);
  for (const auto& file : files) {
    if (file.checksum() == 0) continue;
    if (const auto memory = memories.find(file.name()); memory != memories.end())
      copy_memory(file.name(), memory->second);
    else
      copy_records(file.name());
  }
  for (auto& [name, pages] : pages_) {
    writer_.add_pages(name, pages.fd());
    report_.repeated += pages.repeated();
  }
  for (const auto& file : files)
    if (file.checksum() == 0 && !pages_.contains(file.name()) &&
        std::ranges::find(streams, file.name()) == streams.end())
      copy_pages(file);
  image::Inventory inventory = reader_.inventory();
  inventory.clear_parent();
  inventory.clear_streams();
  writer_.commit(std::move(inventory));
  report_.bytes = writer_.bytes();
  return report_;
}

}  // namespace

MergeReport merge(const std::string& directory, const std::string& to, bool sync) {
  return Merge(directory, to, sync).run();
}

}  // namespace mcr::images
