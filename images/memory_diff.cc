#include "images/memory_diff.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <set>

#include "images/byte_text.h"

namespace mcr::images {
namespace {

bool counts_offset(const image::Vma& vma) {
  return vma.kind() != image::Vma::PRIVATE_ANONYMOUS;
}

// The mapping as if it were [start, end) of it only.
image::Vma part_of(const image::Vma& vma, uint64_t start, uint64_t end) {
  image::Vma part = vma;
  part.set_start(start), part.set_end(end);
  part.set_offset(counts_offset(vma) ? vma.offset() + (start - vma.start()) : 0);
  return part;
}

bool continues(const image::Vma& first, const image::Vma& second) {
  if (first.end() != second.start()) return false;
  const image::Vma whole = part_of(first, second.start(), second.end());
  return whole.SerializeAsString() == part_of(second, second.start(), second.end()).SerializeAsString();
}

std::vector<image::Vma> joined(const std::vector<image::Vma>& vmas) {
  std::vector<image::Vma> result;
  for (const image::Vma& vma : vmas) {
    if (!result.empty() && continues(result.back(), vma))
      result.back().set_end(vma.end());
    else
      result.push_back(vma);
  }
  return result;
}

const image::Vma* mapping_at(const std::vector<image::Vma>& vmas, uint64_t at) {
  const auto after =
      std::upper_bound(vmas.begin(), vmas.end(), at, [](uint64_t x, const image::Vma& vma) { return x < vma.start(); });
  if (after == vmas.begin() || std::prev(after)->end() <= at) return nullptr;
  return &*std::prev(after);
}

}  // namespace

std::string mapping_text(const image::Vma& vma) {
  std::string kind = image::Vma::Kind_Name(vma.kind());
  std::transform(kind.begin(), kind.end(), kind.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string text = fmt::format("{} {}{}{}", kind, vma.prot() & PROT_READ ? 'r' : '-',
                                 vma.prot() & PROT_WRITE ? 'w' : '-', vma.prot() & PROT_EXEC ? 'x' : '-');
  if (!vma.name().empty()) text.append(" ").append(escaped(vma.name()));
  return text;
}

std::vector<MappingPair> pair_mappings(const std::vector<image::Vma>& before, const std::vector<image::Vma>& after) {
  const std::vector<image::Vma> a = joined(before), b = joined(after);
  std::set<uint64_t> borders;
  for (const auto* side : {&a, &b})
    for (const image::Vma& vma : *side) borders.insert({vma.start(), vma.end()});
  std::vector<MappingPair> pairs;
  for (auto border = borders.begin(); border != borders.end() && std::next(border) != borders.end(); ++border) {
    const uint64_t start = *border, end = *std::next(border);
    MappingPair pair{start, end, {}, {}};
    if (const image::Vma* vma = mapping_at(a, start)) pair.a = part_of(*vma, start, end);
    if (const image::Vma* vma = mapping_at(b, start)) pair.b = part_of(*vma, start, end);
    if (pair.a || pair.b) pairs.push_back(std::move(pair));
  }
  return pairs;
}

namespace {

std::function<void(uint64_t, std::span<std::byte>)> reader_of(const MemoryRecords& records, const image::PageRun& run,
                                                              uint64_t start, const PageContent& content) {
  return [&content, &run, start, owner = MemoryOwner{records.pid, records.map.pages_file()}](
             uint64_t skipped, std::span<std::byte> out) { content.read(owner, run, start + skipped, out); };
}

bool has_checksums_of_chunks(const image::PageRun& run) {
  return run.source() == image::PageRun::FILE || run.source() == image::PageRun::STREAMS;
}

// What a process has inherited, out of the runs of those that have it.
void add_inherited(const MemoryRecords& from, uint64_t start, uint64_t end, const PageContent& content,
                   std::vector<Stretch>& out) {
  for (const image::PageRun& run : from.runs) {
    const uint64_t first = std::max(start, run.start()), last = std::min(end, run.start() + run.bytes());
    if (run.shared() == 0 && first < last)
      out.push_back({first, last - first, 0, {}, reader_of(from, run, first, content)});
  }
  for (const image::InheritedPages& pages : from.inherited) {
    const uint64_t first = std::max(start, pages.start()), last = std::min(end, pages.start() + pages.bytes());
    if (first < last && from.parent) add_inherited(*from.parent, first, last, content, out);
  }
}

}  // namespace

Content content_of(const MemoryRecords& records, uint32_t shared, const std::string& owner, const PageContent& pages) {
  std::vector<Stretch> stretches;
  for (const image::PageRun& run : records.runs)
    if (run.shared() == shared)
      stretches.push_back({run.start(),
                           run.bytes(),
                           has_checksums_of_chunks(run) ? run.chunk_bytes() : 0,
                           {run.checksums().begin(), run.checksums().end()},
                           reader_of(records, run, run.start(), pages)});
  if (shared == 0 && records.parent)
    for (const image::InheritedPages& part : records.inherited)
      add_inherited(*records.parent, part.start(), part.start() + part.bytes(), pages, stretches);
  std::ranges::sort(stretches, {}, &Stretch::at);
  Content content(owner);
  for (Stretch& stretch : stretches) content.add(std::move(stretch));
  return content;
}

std::vector<DifferentRange> compare_pages(const std::vector<image::Vma>& vmas, const Content& a, const Content& b,
                                          const std::vector<KernelWrite>& writes, uint64_t elapsed_ns) {
  const std::vector<image::Vma> whole = joined(vmas);
  std::map<std::pair<uint64_t, const char*>, DifferentRange> ranges;
  const auto is_zero_when_absent = [&](uint64_t at) {
    const image::Vma* vma = mapping_at(whole, at);
    return !vma || vma->kind() == image::Vma::PRIVATE_ANONYMOUS;  // otherwise the file's content is there
  };
  compare_contents(a, b, is_zero_when_absent, [&](const DifferentPiece& piece) {
    const char* reason = explains(writes, piece.at, piece.a, piece.b, elapsed_ns);
    const image::Vma* vma = mapping_at(whole, piece.at);
    const uint64_t start = vma ? vma->start() : piece.at, end = vma ? vma->end() : piece.at + piece.a.size();
    auto [found, is_new] = ranges.try_emplace({start, reason}, DifferentRange{start, end, {}});
    PageDifference& difference = found->second.difference;
    if (is_new) {
      const auto byte = std::mismatch(piece.a.begin(), piece.a.end(), piece.b.begin()).first - piece.a.begin();
      difference = {piece.at, piece.at + (static_cast<size_t>(byte) < piece.a.size() ? static_cast<uint64_t>(byte) : 0),
                    0, reason};
    }
    ++difference.pages;
  });
  std::vector<DifferentRange> result;
  for (auto& [key, range] : ranges) result.push_back(range);
  return result;
}

}  // namespace mcr::images
