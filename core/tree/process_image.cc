#include "core/tree/process_image.h"

#include <sys/wait.h>

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/tree/inherited_check.h"
#include "core/tree/process_check.h"
#include "images/proto/sharing.pb.h"

namespace mcr::tree {
namespace {

constexpr uint64_t kPage = 4096, kTaskSize = 0x7ffffffff000;
constexpr uint32_t kLargestShift = 34;  // 16 GiB

[[noreturn]] void bad(const std::string& file, const std::string& what) {
  throw Error(Fault::image, fmt::format("{}: {}", file, what), "the image is damaged or was made by a faulty program");
}

template <typename M>
void append_all(images::RecordWriter& records, const std::vector<M>& messages) {
  for (const M& message : messages) records.append(message);
}

void finish(images::RecordWriter records, images::ImageWriter& writer) {
  records.finish();
  writer.add(records);
}

void check_attributes(const image::Vma& vma, const std::string& file) {
  constexpr uint32_t kKeys = 16;
  constexpr int kMostNodeWords = 64;
  uint64_t last = vma.start();
  for (const auto& guard : vma.guards()) {
    if (guard.start() % kPage != 0 || guard.bytes() % kPage != 0 || guard.bytes() == 0 || guard.start() < last ||
        guard.start() >= vma.end() || guard.bytes() > vma.end() - guard.start())
      bad(file, fmt::format("mapping {:#x} has a guard page outside of it", vma.start()));
    last = guard.start() + guard.bytes();
  }
  if (vma.protection_key() >= kKeys) bad(file, fmt::format("mapping {:#x} has a broken protection key", vma.start()));
  if (vma.policy().nodes_size() > kMostNodeWords)
    bad(file, fmt::format("mapping {:#x} has a memory policy of too many nodes", vma.start()));
  if (vma.name().size() > kPage || vma.name().find('\0') != std::string::npos)
    bad(file, fmt::format("mapping {:#x} has a broken name", vma.start()));
}

// Addresses are used as they stand, so they must be what mmap could have given.
void check_vmas(const ProcessImage& p, const std::string& file) {
  uint64_t last = 0;
  for (const auto& vma : p.vmas) {
    if (vma.start() % kPage != 0 || vma.end() % kPage != 0 || vma.start() >= vma.end() || vma.end() > kTaskSize + kPage)
      bad(file, fmt::format("mapping {:#x}-{:#x} is none", vma.start(), vma.end()));
    if (vma.start() < last) bad(file, fmt::format("mapping {:#x} overlaps the one before", vma.start()));
    if (vma.huge_page_shift() > kLargestShift ||
        (vma.huge_page_shift() != 0 && (vma.start() | vma.end()) % (uint64_t{1} << vma.huge_page_shift()) != 0))
      bad(file, fmt::format("mapping {:#x} is on impossible huge pages", vma.start()));
    const bool is_memory = vma.kind() == image::Vma::SHARED_ANONYMOUS || vma.kind() == image::Vma::SYSV_SEGMENT;
    if (is_memory && vma.offset() > kTaskSize)
      bad(file, fmt::format("mapping {:#x} has an impossible offset", vma.start()));
    if (vma.offset() % kPage != 0) bad(file, fmt::format("mapping {:#x} has a broken offset", vma.start()));
    check_attributes(vma, file);
    last = vma.end();
  }
  last = 0;
  for (const auto& run : p.runs) {
    if (run.start() % kPage != 0 || run.bytes() % kPage != 0 || run.bytes() == 0 || run.offset() % kPage != 0)
      bad(file, fmt::format("run of pages at {:#x} is none", run.start()));
    if (run.bytes() > kTaskSize || run.start() > kTaskSize)
      bad(file, fmt::format("run of pages at {:#x} is too large", run.start()));
    if (run.shared() != 0) {
      const auto object =
          std::find_if(p.shared.begin(), p.shared.end(), [&](const auto& s) { return s.id() == run.shared(); });
      if (object == p.shared.end() || run.start() > object->size() || run.bytes() > object->size() - run.start())
        bad(file, fmt::format("run of pages at {:#x} lies outside of its shared memory", run.start()));
      continue;
    }
    if (run.start() < last) bad(file, fmt::format("run of pages at {:#x} overlaps the one before", run.start()));
    last = run.start() + run.bytes();
    // A run lies inside one mapping: it is made from one.
    const auto after = std::upper_bound(p.vmas.begin(), p.vmas.end(), run.start(),
                                        [](uint64_t at, const auto& vma) { return at < vma.start(); });
    if (after == p.vmas.begin() || std::prev(after)->end() < last)
      bad(file, fmt::format("run of pages at {:#x} lies outside of all mappings", run.start()));
    const auto kind = std::prev(after)->kind();  // into a shared one it would be written for others too
    if (kind != image::Vma::PRIVATE_ANONYMOUS && kind != image::Vma::PRIVATE_FILE)
      bad(file, fmt::format("run of pages at {:#x} lies in a mapping that is not private", run.start()));
  }
  for (const auto& object : p.shared)
    if (object.huge_page_shift() > kLargestShift || object.size() == 0 || object.size() % kPage != 0 ||
        object.size() > kTaskSize)
      bad(file, "shared memory of an impossible size");
}

void check_zombie(const image::ProcessCore& core, const std::string& file, int32_t pid, bool has_more) {
  const int status = core.exit_status();
  const bool is_end = WIFEXITED(status) ? (status & ~0xff00) == 0 : WIFSIGNALED(status) && (status & ~0xff) == 0;
  if (core.pid() != pid || has_more || core.thread_count() != 0) bad(file, "it is no zombie's");
  if (!is_end || WTERMSIG(status) > 64) bad(file, fmt::format("a process cannot end with status {:#x}", status));
}

// Every ring is a mapping, and every such mapping a ring.
void check_aio(const ProcessImage& p, const std::string& file) {
  size_t rings = 0;
  for (const auto& vma : p.vmas) rings += vma.kind() == image::Vma::AIO_RING;
  if (rings != p.aio.size()) bad(file, "rings of asynchronous I/O are missing");
  for (const auto& context : p.aio) {
    const auto is_its = [&](const image::Vma& vma) {
      return vma.kind() == image::Vma::AIO_RING && vma.start() == context.address() &&
             vma.end() - vma.start() == context.bytes();
    };
    constexpr uint64_t kHeader = 32, kEvent = 32, kMost = 1 << 30;
    const uint64_t room = context.bytes() - kHeader;
    if (std::none_of(p.vmas.begin(), p.vmas.end(), is_its) || context.bytes() > kMost ||
        context.events().size() != room || context.head() >= room / kEvent || context.tail() >= room / kEvent)
      bad(file, fmt::format("the ring of asynchronous I/O at {:#x} is none", context.address()));
  }
}

}  // namespace

namespace {

void write_memory(const ProcessImage& p, images::ImageWriter& writer) {
  auto mm = writer.records(fmt::format("mm-{}.img", p.core.pid()));
  mm.append(p.map);
  append_all(mm, p.shared);
  append_all(mm, p.aio);
  append_all(mm, p.vmas);
  append_all(mm, p.runs);
  append_all(mm, p.inherited);
  finish(std::move(mm), writer);
}

image::SharedTables message_of(const ProcessImage& p) {
  image::SharedTables message;
  message.set_memory(p.shared_with[0]), message.set_handlers(p.shared_with[1]);
  message.set_descriptors(p.shared_with[2]), message.set_directories(p.shared_with[3]);
  return message;
}

}  // namespace

void write_process(const ProcessImage& p, images::ImageWriter& writer) {
  const int32_t pid = p.core.pid();
  auto core = writer.records(fmt::format("core-{}.img", pid));
  if (std::ranges::all_of(kShared, [&](Shared what) { return p.has_own(what); })) {
    core.append(p.core);
  } else {
    image::ProcessCore sharing = p.core;
    sharing.add_facets()->PackFrom(message_of(p));
    core.append(sharing);
  }
  append_all(core, p.threads);
  finish(std::move(core), writer);
  if (p.core.zombie()) return;
  if (p.has_own(Shared::memory)) write_memory(p, writer);
  if (p.has_own(Shared::directories)) {
    auto fs = writer.records(fmt::format("fs-{}.img", pid));
    fs.append(p.fs);
    finish(std::move(fs), writer);
  }
  if (!p.has_own(Shared::files)) return;
  auto fdinfo = writer.records(fmt::format("fdinfo-{}.img", pid));
  append_all(fdinfo, p.descriptors);
  finish(std::move(fdinfo), writer);
}

namespace {

// Memory shared by several processes is stored with the first of them.
void find_borrowed(ProcessImage& p, std::span<const ProcessImage> before) {
  std::set<uint32_t> known;
  for (const auto& object : p.shared) known.insert(object.id());
  for (const auto& vma : p.vmas) {
    if (vma.kind() != image::Vma::SHARED_ANONYMOUS || !known.insert(vma.shared()).second) continue;
    for (const ProcessImage& lender : before)
      for (const auto& object : lender.shared)
        if (object.id() == vma.shared() && (p.borrowed.empty() || p.borrowed.back().memory.id() != object.id()))
          p.borrowed.push_back({lender.core.pid(), object});
  }
}

}  // namespace

namespace {

// Only one that comes before and has its own can be the first of those that share.
void check_sharing(const ProcessImage& p, std::span<const ProcessImage> before, const std::string& file) {
  for (const Shared what : kShared) {
    const int32_t first = p.shared_with[static_cast<size_t>(what)];
    if (first == 0) continue;
    const auto found = std::ranges::find_if(before, [&](const ProcessImage& q) { return q.core.pid() == first; });
    if (found == before.end() || found->core.zombie() || !found->has_own(what))
      bad(file, fmt::format("it cannot share {} with process {}", name_of(what), first));
    if (what != Shared::handlers) continue;
    const auto memory_of = [](const ProcessImage& q) {
      return q.has_own(Shared::memory) ? q.core.pid() : q.shared_with[0];
    };
    if (memory_of(*found) != memory_of(p))
      bad(file, fmt::format("it cannot share signal handlers with process {}, but no memory", first));
  }
}

// Out of the facets: it is no state that the process restores itself.
void take_sharing(ProcessImage& p, std::span<const ProcessImage> before, const std::string& file) {
  auto& facets = *p.core.mutable_facets();
  bool is_known = false;
  for (int i = facets.size(); i-- > 0;) {
    image::SharedTables message;
    if (!facets[i].Is<image::SharedTables>()) continue;
    if (is_known || !facets[i].UnpackTo(&message)) bad(file, "it says more than once what it shares");
    is_known = true;
    p.shared_with = {message.memory(), message.handlers(), message.descriptors(), message.directories()};
    facets.DeleteSubrange(i, 1);
  }
  check_sharing(p, before, file);
}

const ProcessImage& first_of(const ProcessImage& p, Shared what, std::span<const ProcessImage> before) {
  const int32_t first = p.shared_with[static_cast<size_t>(what)];
  return *std::ranges::find_if(before, [&](const ProcessImage& q) { return q.core.pid() == first; });
}

void read_memory(ProcessImage& p, const images::ImageReader& reader, std::span<const ProcessImage> before) {
  const std::string file = fmt::format("mm-{}.img", p.core.pid());
  auto mm = reader.records(file);
  if (!mm.at<image::MemoryMap>()) bad(file, "it does not begin with a memory map");
  mm.read_into(p.map);
  constexpr uint64_t kMostAhead = 1 << 16;  // the numbers are not checked yet
  p.vmas.reserve(std::min<uint64_t>(p.map.vma_count(), kMostAhead));
  p.runs.reserve(std::min<uint64_t>(p.map.run_count(), kMostAhead));
  while (const auto type = mm.next_type()) {
    if (*type == image::Vma::descriptor()->full_name())
      mm.read_into(p.vmas.emplace_back());
    else if (*type == image::PageRun::descriptor()->full_name())
      mm.read_into(p.runs.emplace_back());
    else if (*type == image::InheritedPages::descriptor()->full_name())
      p.inherited.push_back(mm.read<image::InheritedPages>());
    else if (*type == image::AioContext::descriptor()->full_name())
      p.aio.push_back(mm.read<image::AioContext>());
    else
      p.shared.push_back(mm.read<image::SharedMemory>());
  }
  if (p.vmas.size() != p.map.vma_count() || p.runs.size() != p.map.run_count() ||
      p.inherited.size() != p.map.inherited_count())
    bad(file, "mappings or runs are missing");
  find_borrowed(p, before);
  check_vmas(p, file);
  check_inherited(p, before);
  check_aio(p, file);
}

void read_files(ProcessImage& p, const images::ImageReader& reader) {
  const std::string file = fmt::format("fdinfo-{}.img", p.core.pid());
  auto fdinfo = reader.records(file);
  while (fdinfo.next_type()) {
    p.descriptors.push_back(fdinfo.read<image::Descriptor>());
    if (p.descriptors.back().fd() < 0 || p.descriptors.back().fd() >= 1 << 30)
      bad(file, "a descriptor number is impossible");
  }
}

void read_directories(ProcessImage& p, const images::ImageReader& reader) {
  const std::string file = fmt::format("fs-{}.img", p.core.pid());
  auto fs = reader.records(file);
  if (!fs.next_type()) bad(file, "it is empty");
  fs.read_into(p.fs);
}

}  // namespace

ProcessImage read_process(int32_t pid, const images::ImageReader& reader, std::span<const ProcessImage> before) {
  ProcessImage p;
  const std::string core_file = fmt::format("core-{}.img", pid);
  auto core = reader.records(core_file);
  if (!core.at<image::ProcessCore>()) bad(core_file, "it does not begin with a process");
  core.read_into(p.core);
  if (p.core.zombie()) {
    check_zombie(p.core, core_file, pid, core.next_type().has_value());
    return p;
  }
  while (core.next_type()) p.threads.push_back(core.read<image::ThreadCore>());
  if (p.core.pid() != pid || p.threads.empty() || p.threads.size() != p.core.thread_count() ||
      p.threads.front().tid() != pid)
    bad(core_file, "process and threads do not fit together");
  for (size_t i = 0; i < p.threads.size(); ++i)
    if (p.threads[i].has_ended() && (i > 0 || p.threads.size() == 1 || p.threads[i].ended().exit_code() > 255))
      bad(core_file, fmt::format("thread {} cannot have ended alone", p.threads[i].tid()));
  take_sharing(p, before, core_file);
  if (p.has_own(Shared::memory)) read_memory(p, reader, before);
  if (p.has_own(Shared::directories)) read_directories(p, reader);
  if (p.has_own(Shared::files)) read_files(p, reader);
  check_process(p, reader);
  if (!p.has_own(Shared::memory)) {
    const ProcessImage& first = first_of(p, Shared::memory, before);
    p.map = first.map, p.vmas = first.vmas;
  }
  if (!p.has_own(Shared::directories)) p.fs = first_of(p, Shared::directories, before).fs;
  return p;
}

}  // namespace mcr::tree
