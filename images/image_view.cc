#include "images/image_view.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <sys/wait.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/messages.h"
#include "images/run_shape.h"

namespace mcr::images {
namespace {

using image::PageRun;

template <typename M>
const M* as(const google::protobuf::Message& message) {
  return message.GetDescriptor() == M::descriptor() ? static_cast<const M*>(&message) : nullptr;
}

// Each record of a file, or of none.
template <typename Take>
void each_record(const ImageReader& reader, const std::string& name, Take take) {
  if (!reader.has(name)) return;
  RecordReader records = reader.records(name);
  while (records.next_type()) take(*records.read_any());
}

void add_core(const ImageReader& reader, int32_t pid, ProcessView& view) {
  each_record(reader, fmt::format("core-{}.img", pid), [&](const google::protobuf::Message& message) {
    if (const auto* core = as<image::ProcessCore>(message)) view.core = *core;
    if (const auto* thread = as<image::ThreadCore>(message)) view.thread_names.push_back(thread->name());
  });
  view.core.set_pid(pid);
}

// Which places of files were counted: many runs may refer to one.
class Places {
 public:
  // `runs`: all of one pages file.
  void begin(const std::vector<PageRun>& runs) {
    raw_.clear(), pages_.clear();
    for (const PageRun& run : runs)
      if (run.source() == PageRun::FILE) raw_.emplace(run.offset(), run.offset() + run.bytes());
  }
  // What the run takes that no run before it has taken.
  uint64_t take(const PageRun& run) {
    if (run.source() == PageRun::FILE) return run.bytes();
    uint64_t bytes = 0;
    if (is_in_stream(run)) {
      const int chunks = std::min(
          {run.chunk_streams_size(), run.chunk_offsets_size(), run.chunk_stored_size()});  // nothing fits, perhaps
      for (int i = 0; i < chunks; ++i)
        if (chunks_.emplace(run.chunk_streams(i), run.chunk_offsets(i)).second) bytes += run.chunk_stored(i);
    } else if (run.source() == PageRun::REPEATED && !lies_in_raw(run.offset()) && pages_.insert(run.offset()).second) {
      bytes = run.chunk_bytes();
    }
    return bytes;
  }

 private:
  bool lies_in_raw(uint64_t offset) const {
    const auto behind = raw_.upper_bound(offset);
    return behind != raw_.begin() && std::prev(behind)->second > offset;
  }
  std::map<uint64_t, uint64_t> raw_;
  std::set<uint64_t> pages_;
  std::set<std::pair<uint32_t, uint64_t>> chunks_;  // of the whole image
};

void add_run(const PageRun& run, uint64_t stored, ProcessView& view) {
  view.sums.add(run, stored);
  if (run.shared() != 0) return view.shared[run.shared()].sums.add(run, stored);
  const auto found =
      std::ranges::partition_point(view.mappings, [&](const auto& m) { return m.vma.end() <= run.start(); });
  if (found != view.mappings.end() && found->vma.start() <= run.start()) found->sums.add(run, stored);
}

void add_memory(const ImageReader& reader, int32_t pid, Places& places, ProcessView& view) {
  std::vector<PageRun> runs;
  each_record(reader, fmt::format("mm-{}.img", pid), [&](const google::protobuf::Message& message) {
    if (const auto* vma = as<image::Vma>(message)) {
      view.mappings.push_back({*vma, {}});
    } else if (const auto* run = as<PageRun>(message)) {
      runs.push_back(*run);
      runs.back().clear_checksums();
    } else if (const auto* pages = as<image::InheritedPages>(message)) {
      view.sums.inherited += pages->bytes();
    } else if (const auto* shared = as<image::SharedMemory>(message)) {
      view.shared[shared->id()].size = shared->size();
    }
  });
  places.begin(runs);
  for (const PageRun& run : runs) add_run(run, places.take(run), view);
}

// A view shows what is there, even where a file of pages is damaged or gone.
void add_disk(const ImageReader& reader, const image::FileSummary& file, ImageView& image) {
  constexpr uint64_t kUnit = 512;  // of st_blocks, whatever the file system
  try {
    image.disk[file.name()] = static_cast<uint64_t>(sys::stat_fd(reader.pages(file.name()).get()).st_blocks) * kUnit;
  } catch (const Error& error) {
    if (error.fault() != Fault::image) throw;
  }
}

void add_files(const ImageReader& reader, int32_t pid, ProcessView& view) {
  each_record(reader, fmt::format("fdinfo-{}.img", pid), [&](const google::protobuf::Message& message) {
    if (const auto* descriptor = as<image::Descriptor>(message)) view.descriptors.push_back(*descriptor);
  });
  each_record(reader, fmt::format("fs-{}.img", pid), [&](const google::protobuf::Message& message) {
    if (const auto* context = as<image::FileSystemContext>(message)) view.cwd = context->cwd_file();
  });
}

}  // namespace

void ContentSums::add(const PageRun& run, uint64_t stored_bytes) {
  content += run.bytes();
  stored += stored_bytes;
  switch (run.source()) {
    case PageRun::FILE:
      raw += run.bytes();
      return;
    case PageRun::ZERO:
      zero += run.bytes();
      return;
    case PageRun::REPEATED:
      repeated += run.bytes();
      return;
    case PageRun::PARENT:
      parent += run.bytes();
      return;
    case PageRun::STREAMS:
      packed += run.bytes();
      return;
    default:
      return;  // of an unknown source
  }
}

void ContentSums::add(const ContentSums& other) {
  content += other.content, raw += other.raw, zero += other.zero, repeated += other.repeated;
  packed += other.packed, parent += other.parent, inherited += other.inherited, stored += other.stored;
}

uint64_t ProcessView::mapped() const {
  uint64_t bytes = 0;
  for (const MappingView& mapping : mappings) bytes += mapping.bytes();
  return bytes;
}

ImageView view_of(const ImagePlace& place) {
  const ImageReader reader(place);
  ImageView image{reader.inventory(), {}, {}, {}};
  for (const auto& file : image.inventory.files())
    if (file.checksum() == 0) add_disk(reader, file, image);
  each_record(reader, "files.img", [&](const google::protobuf::Message& message) {
    if (const auto* object = as<image::FileObject>(message)) image.objects[object->id()] = *object;
  });
  Places places;
  for (const int32_t pid : image.inventory.pids()) {
    ProcessView view;
    add_core(reader, pid, view);
    add_memory(reader, pid, places, view);
    add_files(reader, pid, view);
    image.processes.push_back(std::move(view));
  }
  return image;
}

uint64_t disk_bytes(const ImageView& image, const image::FileSummary& file) {
  const auto found = image.disk.find(file.name());
  return found == image.disk.end() ? file.size() : std::min(found->second, file.size());
}

// Kinds name the path of their object "path" or "fifo_path"; those that have none have none of these fields.
std::string path_of(const image::FileObject& object) {
  const std::string& url = object.body().type_url();
  const auto* type = find_message(std::string_view(url).substr(url.rfind('/') + 1));
  if (!type) return {};
  const auto message = new_message(type);
  if (!parse_bounded(object.body().value(), *message)) return {};
  for (const char* name : {"path", "fifo_path"}) {
    const auto* field = type->FindFieldByName(name);
    if (!field || field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_STRING || field->is_repeated())
      continue;
    if (std::string path = message->GetReflection()->GetString(*message, field); !path.empty()) return path;
  }
  return {};
}

std::string state_of(const image::ProcessCore& core) {
  if (core.zombie()) {
    const int status = core.exit_status();
    return WIFSIGNALED(status) ? fmt::format("ended by signal {}", WTERMSIG(status))
                               : fmt::format("ended with status {}", WEXITSTATUS(status));
  }
  return core.stopped() ? fmt::format("stopped by signal {}", core.stop_signal()) : "runs";
}

std::string kind_of(const image::Vma& vma) {
  if (vma.name() == "[heap]") return "heap";
  if (vma.name().starts_with("[stack")) return "stack";
  switch (vma.kind()) {
    case image::Vma::PRIVATE_ANONYMOUS:
      return vma.huge_page_shift() == 0 ? "anonymous" : "huge pages";
    case image::Vma::PRIVATE_FILE:
      return (vma.prot() & 4) != 0 ? "code of files" : "private files";
    case image::Vma::SHARED_ANONYMOUS:
      return "shared memory";
    case image::Vma::SHARED_FILE:
      return "shared files";
    case image::Vma::VDSO:
    case image::Vma::VVAR:
    case image::Vma::VSYSCALL:
      return "of the kernel";
    case image::Vma::SYSV_SEGMENT:
      return "System V segments";
    case image::Vma::AIO_RING:
      return "asynchronous I/O";
    default:
      return "unknown";
  }
}

}  // namespace mcr::images
