#include "core/inspect/saved_tree.h"

#include <algorithm>

#include "core/base/error.h"

namespace mcr::inspect {
namespace {

std::vector<tree::ProcessImage> read_all(const images::ImageReader& reader) {
  std::vector<tree::ProcessImage> processes;
  for (const int32_t pid : reader.inventory().pids()) processes.push_back(tree::read_process(pid, reader, processes));
  if (processes.empty()) throw Error(Fault::image, "the image holds no process");
  return processes;
}

const images::ImageReader& with_programs(const images::ImageReader& reader) {
  if (reader.inventory().memory_only())
    throw Error(Fault::image,
                fmt::format("{} holds memory only: it was made by pre-dump, ahead of a dump", reader.directory()),
                "give the image of the dump that was made after it");
  return reader;
}

// Before any page is read: the whole chain is there, and has what is said of it.
std::unique_ptr<images::ParentChain> open_parents(const images::ImageReader& reader) {
  auto chain = images::ParentChain::of(reader);
  if (chain) chain->check_runs(reader);
  return chain;
}

}  // namespace

SavedTree::SavedTree(const images::ImagePlace& place)
    : reader_(place),
      files_(with_programs(reader_), {}),
      processes_(read_all(reader_)),
      parents_(open_parents(reader_)),
      content_(reader_, parents_.get()) {}

const tree::ProcessImage& SavedTree::process(int32_t pid) const {
  const auto found = std::ranges::find_if(processes_, [&](const auto& p) { return p.core.pid() == pid; });
  if (found != processes_.end()) return *found;
  std::vector<int32_t> pids;
  constexpr size_t kMostNamed = 20;
  for (const auto& p : processes_)
    if (pids.size() < kMostNamed) pids.push_back(p.core.pid());
  throw Error(Fault::usage, fmt::format("the image has no process {}", pid),
              fmt::format("it has {}{}", fmt::join(pids, ", "), processes_.size() > pids.size() ? " and others" : ""));
}

}  // namespace mcr::inspect
