#include "core/inspect/process_memory.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/tree/inherited_check.h"

namespace mcr::inspect {
namespace {

using image::InheritedPages;
using image::PageRun;
using image::Vma;

constexpr uint64_t kPage = 4096;
constexpr size_t kMostPages = 256;

const tree::ProcessImage& living(const tree::ProcessImage& process) {
  if (process.core.zombie())
    throw Error(
        Fault::refused,
        fmt::format("process {} had ended before the dump: it has neither memory nor registers", process.core.pid()),
        "give the pid of another process of the image");
  return process;
}

const tree::ProcessImage& owner_of_memory(const SavedTree& tree, const tree::ProcessImage& process) {
  const int32_t first = process.shared_with[static_cast<size_t>(tree::Shared::memory)];
  return first == 0 ? process : tree.process(first);
}

bool is_private(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS || vma.kind() == Vma::PRIVATE_FILE;
}

uint64_t end_of(const PageRun* run) {
  return run->start() + run->bytes();
}
uint64_t end_of(const InheritedPages& pages) {
  return pages.start() + pages.bytes();
}

// The first that does not end before `address`; they are in order.
template <typename Stretches>
auto behind(const Stretches& all, uint64_t address) {
  return std::ranges::partition_point(all, [&](const auto& one) { return end_of(one) <= address; });
}

const InheritedPages* inherited_at(const tree::ProcessImage& process, uint64_t address) {
  const auto found = behind(process.inherited, address);
  return found != process.inherited.end() && found->start() <= address ? &*found : nullptr;
}

uint64_t offset_at(const Vma& vma, uint64_t address) {
  const bool counts = vma.kind() != Vma::VDSO && vma.kind() != Vma::PRIVATE_ANONYMOUS;
  return (counts ? vma.offset() : 0) + (address - vma.start());
}

// Both are kinds of one place in files.img, or the like: what a mapping shows beneath its own pages.
std::pair<int, uint32_t> key_of(const Vma& vma) {
  switch (vma.kind()) {
    case Vma::PRIVATE_FILE:
    case Vma::SHARED_FILE:
      return {Vma::SHARED_FILE, vma.file()};
    case Vma::SHARED_ANONYMOUS:
      return {vma.kind(), vma.shared()};
    case Vma::SYSV_SEGMENT:
      return {vma.kind(), static_cast<uint32_t>(vma.segment())};
    default:
      return {vma.kind(), 0};
  }
}

}  // namespace

ProcessMemory::ProcessMemory(const SavedTree& tree, int32_t pid)
    : tree_(tree), process_(living(tree.process(pid))), owner_(owner_of_memory(tree, process_)) {}

ProcessMemory::~ProcessMemory() = default;

const Vma* ProcessMemory::mapping_at(uint64_t address) const {
  const auto& all = process_.vmas;
  const auto found = std::ranges::partition_point(all, [&](const Vma& vma) { return vma.end() <= address; });
  return found != all.end() && found->start() <= address ? &*found : nullptr;
}

const ProcessMemory::Runs& ProcessMemory::private_runs(const tree::ProcessImage& process) {
  const auto [found, is_new] = private_runs_.try_emplace(&process);
  if (is_new)
    for (const PageRun& run : process.runs)
      if (run.shared() == 0) found->second.push_back(&run);
  return found->second;
}

std::unique_ptr<BackingContent> ProcessMemory::make_backing(const Vma& vma) const {
  switch (vma.kind()) {
    case Vma::PRIVATE_ANONYMOUS:
      return zero_content();
    case Vma::PRIVATE_FILE:
    case Vma::SHARED_FILE:
      return file_content(tree_, vma.file());
    case Vma::SHARED_ANONYMOUS:
      return shared_content(tree_, vma.shared());
    case Vma::SYSV_SEGMENT:
      return segment_content(tree_, vma.segment());
    case Vma::VDSO:
      return byte_content(std::as_bytes(std::span(tree_.inventory().vdso().content())));
    default:
      return missing_content("it is the kernel's own memory");
  }
}

const BackingContent& ProcessMemory::backing_of(const Vma& vma) {
  auto& backing = backings_[key_of(vma)];
  if (!backing) backing = make_backing(vma);
  return *backing;
}

ProcessMemory::Place ProcessMemory::place_of(const Vma& vma, uint64_t address) {
  uint64_t limit = vma.end();
  if (is_private(vma)) {
    const Runs& runs = private_runs(owner_);
    const auto run = behind(runs, address);
    if (run != runs.end() && (*run)->start() <= address) {
      const bool is_zero = (*run)->source() == PageRun::ZERO;
      return {std::min(limit, end_of(*run)), is_zero ? Source::zeros : Source::image, Place::Where::own_run, *run};
    }
    const auto pages = behind(owner_.inherited, address);
    if (pages != owner_.inherited.end() && pages->start() <= address)
      return {std::min(limit, end_of(*pages)), Source::image, Place::Where::inherited, nullptr};
    if (run != runs.end()) limit = std::min(limit, (*run)->start());
    if (pages != owner_.inherited.end()) limit = std::min(limit, pages->start());
  }
  if (vma.offset() > INT64_MAX) return {limit, Source::missing, Place::Where::backing, nullptr};
  const uint64_t offset = offset_at(vma, address);
  const BackingContent::Extent extent = backing_of(vma).extent_at(offset);
  const uint64_t bytes = std::min(limit - address, extent.end - offset);
  return {address + bytes, extent.source, Place::Where::backing, nullptr};
}

std::vector<ProcessMemory::Piece> ProcessMemory::pieces_of(const Vma& vma) {
  std::vector<Piece> pieces;
  for (uint64_t at = vma.start(); at < vma.end();) {
    const Place place = place_of(vma, at);
    if (!pieces.empty() && pieces.back().source == place.source)
      pieces.back().end = place.end;
    else
      pieces.push_back({at, place.end, place.source});
    at = place.end;
  }
  return pieces;
}

std::string ProcessMemory::why_missing(const Vma& vma) {
  return vma.offset() > INT64_MAX ? "no file has such an offset" : backing_of(vma).why_missing();
}

// What a parent lends it may itself have from its parent; each of them comes before the other in the image.
void ProcessMemory::read_inherited(uint64_t address, std::span<std::byte> out) {
  struct Wanted {
    const tree::ProcessImage* process;
    uint64_t start;
    std::span<std::byte> out;
  };
  const std::span all(tree_.processes());
  std::vector<Wanted> open{{&owner_, address, out}};
  while (!open.empty()) {
    Wanted wanted = open.back();
    open.pop_back();
    while (!wanted.out.empty()) {
      const Runs& runs = private_runs(*wanted.process);
      const auto run = behind(runs, wanted.start);
      size_t bytes = 0;
      if (run != runs.end() && (*run)->start() <= wanted.start) {
        bytes = std::min<uint64_t>(end_of(*run) - wanted.start, wanted.out.size());
        tree_.content().read({wanted.process->core.pid(), wanted.process->map.pages_file()}, **run, wanted.start,
                             wanted.out.first(bytes));
      } else {
        const InheritedPages* pages = inherited_at(*wanted.process, wanted.start);
        const auto before = all.first(static_cast<size_t>(wanted.process - all.data()));
        const tree::ProcessImage* lender = pages ? tree::lender_of(*wanted.process, before) : nullptr;
        if (!lender)
          throw Error(Fault::image, fmt::format("nobody has the pages at {:#x} of process {}", wanted.start,
                                                wanted.process->core.pid()));
        bytes = std::min<uint64_t>(end_of(*pages) - wanted.start, wanted.out.size());
        open.push_back({lender, wanted.start, wanted.out.first(bytes)});
      }
      wanted.start += bytes;
      wanted.out = wanted.out.subspan(bytes);
    }
  }
}

size_t ProcessMemory::read_mapping(const Vma& vma, uint64_t address, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const uint64_t at = address + done;
    const Place place = place_of(vma, at);
    if (place.source == Source::missing) break;
    const auto part = out.subspan(done, std::min<uint64_t>(out.size() - done, place.end - at));
    if (place.where == Place::Where::own_run)
      tree_.content().read({owner_.core.pid(), owner_.map.pages_file()}, *place.run, at, part);
    else if (place.where == Place::Where::inherited)
      read_inherited(at, part);
    else
      backing_of(vma).read(offset_at(vma, at), part);
    done += part.size();
  }
  return done;
}

size_t ProcessMemory::read_plainly(uint64_t address, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const Vma* vma = mapping_at(address + done);
    if (!vma) break;
    const auto part = out.subspan(done, std::min<uint64_t>(out.size() - done, vma->end() - (address + done)));
    const size_t n = read_mapping(*vma, address + done, part);
    done += n;
    if (n < part.size()) break;
  }
  return done;
}

size_t ProcessMemory::read_in_page(uint64_t address, std::span<std::byte> out) {
  const uint64_t page = address / kPage * kPage;
  auto found = pages_.find(page);
  if (found == pages_.end()) {
    std::vector<std::byte> bytes(kPage);
    bytes.resize(read_plainly(page, bytes));
    if (pages_.size() == kMostPages) pages_.clear();
    found = pages_.emplace(page, std::move(bytes)).first;
  }
  const std::vector<std::byte>& bytes = found->second;
  const uint64_t skipped = address - page;
  if (skipped >= bytes.size()) return 0;
  const size_t n = std::min<uint64_t>(out.size(), bytes.size() - skipped);
  std::memcpy(out.data(), bytes.data() + skipped, n);
  return n;
}

size_t ProcessMemory::read(uint64_t address, std::span<std::byte> out) {
  if (out.size() > UINT64_MAX - address) return 0;
  if (out.size() >= kPage) return read_plainly(address, out);
  size_t done = 0;
  while (done < out.size()) {
    const uint64_t at = address + done;
    const auto part = out.subspan(done, std::min<uint64_t>(out.size() - done, kPage - at % kPage));
    const size_t n = read_in_page(at, part);
    done += n;
    if (n < part.size()) break;
  }
  return done;
}

std::string ProcessMemory::file_name(const Vma& vma) const {
  constexpr char kDeleted[] = " (deleted)";  // as the kernel says it
  if (vma.kind() == Vma::SHARED_ANONYMOUS) return fmt::format("/dev/zero{}", kDeleted);
  if (vma.kind() == Vma::AIO_RING) return fmt::format("/[aio]{}", kDeleted);
  if (vma.kind() == Vma::SYSV_SEGMENT)
    return fmt::format("/SYSV{:08x}{}", static_cast<uint32_t>(tree_.files().segments().segment(vma.segment()).key()),
                       kDeleted);
  if (vma.kind() != Vma::PRIVATE_FILE && vma.kind() != Vma::SHARED_FILE) return {};
  const image::FileObject& object = tree_.files().object(vma.file());
  image::RegularFile regular;
  image::MemfdFile memfd;
  image::CharDevice device;
  if (object.body().UnpackTo(&regular)) return regular.path() + (regular.deleted() ? kDeleted : "");
  if (object.body().UnpackTo(&device)) return device.path();
  const image::Ghost* ghost = object.body().UnpackTo(&memfd) ? tree_.files().find_ghost(memfd.ghost()) : nullptr;
  return ghost ? fmt::format("/memfd:{}{}", ghost->memfd().name(), kDeleted) : std::string();
}

}  // namespace mcr::inspect
