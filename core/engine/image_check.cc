#include "core/engine/image_check.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/engine/create_tree.h"
#include "core/engine/file_locks_check.h"
#include "core/engine/gpu_restore.h"
#include "core/facets/facet.h"
#include "core/kinds/sysv_ipc.h"
#include "core/sys/file.h"
#include "core/tree/cgroups.h"
#include "images/page_extents.h"
#include "images/run_shape.h"

namespace mcr::engine {
namespace {

constexpr size_t kMostVdso = 1 << 20;

void check_state(const image::Inventory& inventory, const tree::ProcessImage& p, const kinds::OpenedFiles& files) {
  const Step step("process {}", p.core.pid());
  if (inventory.vdso().content().size() > kMostVdso)
    throw Error(Fault::image, fmt::format("inventory.img: a vdso of {} bytes", inventory.vdso().content().size()));
  for (const auto& symbol : inventory.vdso().symbols())
    if (symbol.offset() > inventory.vdso().content().size())
      throw Error(Fault::image, fmt::format("inventory.img: the vdso's {:.64} lies outside of it", symbol.name()));
  if (p.core.zombie()) return;
  const auto all = facets::process_facets();
  for (const auto& any : p.core.facets())
    for (const auto& facet : all) facet->check(any);
  const auto of_threads = facets::thread_facets();
  for (const auto& thread : p.threads) {
    const Step thread_step("thread {}", thread.tid());
    for (const auto& any : thread.facets())
      for (const auto& facet : of_threads) facet->check(any);
  }
  files.object(p.map.exe_file());
  files.object(p.fs.cwd_file());
  files.object(p.fs.root_file());
  for (const auto& vma : p.vmas)
    if (vma.file() != 0) files.object(vma.file());
  for (const auto& descriptor : p.descriptors) files.object(descriptor.file());
}

void check_unused_bytes(const images::ImageReader& reader, const std::vector<tree::ProcessImage>& processes) {
  std::map<std::string, std::vector<std::pair<uint64_t, uint64_t>>> used;  // by file
  const std::vector<uint64_t> streams = images::stream_sizes(reader);
  std::vector<std::vector<images::StreamPlace>> places(streams.size());
  for (const auto& p : processes) {
    if (p.core.zombie()) continue;
    auto& stretches = used[p.map.pages_file()];
    for (const auto& run : p.runs) {
      if (images::is_in_stream(run))
        for (int i = 0; i < run.chunk_streams_size(); ++i)
          places.at(run.chunk_streams(i)).emplace_back(run.chunk_offsets(i), run.chunk_stored(i));
      else if (run.source() == image::PageRun::FILE)
        stretches.emplace_back(run.offset(), run.bytes());
      else if (run.source() == image::PageRun::REPEATED)
        stretches.emplace_back(run.offset(), run.chunk_bytes());
    }
  }
  for (auto& [name, stretches] : used) {
    const images::PageFile pages = reader.pages(name);
    images::check_gaps(pages, name, pages.size(), std::move(stretches));
  }
  for (size_t i = 0; i < streams.size(); ++i)
    images::check_stream(reader.inventory().streams(static_cast<int>(i)), streams[i], std::move(places[i]));
  reader.check_unread();
}

// The kinds look at what their objects say of each other when they look at the host. What is missing here is no fault
// of the image.
void check_references(const std::vector<tree::ProcessImage>& processes, const kinds::OpenedFiles& files) {
  std::vector<Problem> of_this_host;
  try {
    files.check(of_this_host);
    check_file_locks(processes, files, of_this_host);
  } catch (const Error& error) {
    if (error.fault() == Fault::image) throw;
  }
}

}  // namespace

std::vector<tree::ProcessImage> read_processes(const images::ImageReader& reader) {
  std::vector<tree::ProcessImage> processes;
  for (const int32_t pid : reader.inventory().pids()) processes.push_back(tree::read_process(pid, reader, processes));
  if (processes.empty()) throw Error(Fault::image, "the image holds no process");
  check_unused_bytes(reader, processes);
  return processes;
}

void check_image(const image::Inventory& inventory, const std::vector<tree::ProcessImage>& processes,
                 const kinds::OpenedFiles& files) {
  for (const tree::ProcessImage& p : processes) check_state(inventory, p, files);
  (void)helper_pids(processes, inventory.shell_job());  // who would clone whom
}

void verify_records(const images::ImagePlace& place) {
  const images::ImageReader reader(place);
  if (reader.inventory().memory_only()) return;  // what a restore looks at is not there
  const kinds::OpenedFiles files(reader, {});
  const auto processes = read_processes(reader);
  tree::RestoredCgroups(reader, {}).require_members(processes);
  const kinds::IpcObjects ipc(reader);
  const GpuRestore gpu(reader, processes);
  check_image(reader.inventory(), processes, files);
  check_references(processes, files);
}

}  // namespace mcr::engine
