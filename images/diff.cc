#include "images/diff.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <map>
#include <memory>

#include "images/diff_expected.h"
#include "images/format.h"
#include "images/memory_diff.h"
#include "images/parent_chain.h"
#include "images/proto/core.pb.h"
#include "images/proto/files.pb.h"
#include "images/proto/mm.pb.h"
#include "images/proto/sockets.pb.h"
#include "images/proto/stats.pb.h"
#include "images/store.h"

namespace mcr::images {
namespace {

using google::protobuf::Message;
using Records = std::vector<std::unique_ptr<Message>>;

// A record that others refer to by its field `id`: it is compared with the one that stands in its place.
uint32_t id_of(const Message& record) {
  const auto* field = record.GetDescriptor()->FindFieldByName("id");
  if (!field || field->is_repeated() || field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_UINT32)
    return 0;
  return record.GetReflection()->GetUInt32(record, field);
}

// One image, read whole but for its pages.
struct Loaded {
  explicit Loaded(const std::string& directory)
      : reader(directory), files_of_pages(reader), parents(ParentChain::of(reader)), pages(reader, parents.get()) {
    for (const auto& file : reader.inventory().files())
      if (file.checksum() != 0) read(file.name());  // files of pages have none
    find_parents();
  }

  // Of those that come later in the inventory none is a parent: so nobody is his own ancestor.
  void find_parents() {
    std::map<int32_t, const MemoryRecords*> known;
    for (const int32_t pid : reader.inventory().pids()) {
      const auto own = memory.find(fmt::format("mm-{}.img", pid));
      const auto core = files.find(fmt::format("core-{}.img", pid));
      if (own == memory.end() || core == files.end() || core->second.empty()) continue;
      const auto* process = dynamic_cast<const image::ProcessCore*>(core->second.front().get());
      own->second.pid = pid;
      if (const auto parent = process ? known.find(process->ppid()) : known.end(); parent != known.end())
        own->second.parent = parent->second;
      known.emplace(pid, &own->second);
    }
  }

  void read(const std::string& name) {
    RecordReader records = reader.records(name);
    Records& list = files[name];
    while (records.next_type()) {
      list.push_back(records.read_any());
      const Message& record = *list.back();
      if (const uint32_t id = id_of(record); id != 0) objects[short_name(*record.GetDescriptor())][id] = &record;
      if (record.GetDescriptor() == image::MemoryMap::descriptor()) memory[name].map.CopyFrom(record);
      if (record.GetDescriptor() == image::Vma::descriptor()) memory[name].vmas.emplace_back().CopyFrom(record);
      if (record.GetDescriptor() == image::PageRun::descriptor()) memory[name].runs.emplace_back().CopyFrom(record);
      if (record.GetDescriptor() == image::InheritedPages::descriptor())
        memory[name].inherited.emplace_back().CopyFrom(record);
    }
  }

  const Message* object(const std::string& type, uint64_t id) const {
    const auto of_type = objects.find(type);
    if (of_type == objects.end()) return nullptr;
    const auto found = of_type->second.find(static_cast<uint32_t>(id));
    return found == of_type->second.end() ? nullptr : found->second;
  }

  const MemoryRecords* memory_with(uint32_t shared) const {
    for (const auto& [name, records] : memory)
      for (const image::PageRun& run : records.runs)
        if (run.shared() == shared) return &records;
    return nullptr;
  }

  ImageReader reader;
  PageFiles files_of_pages;
  std::unique_ptr<ParentChain> parents;
  PageContent pages;
  std::map<std::string, Records> files;
  std::map<std::string, std::map<uint32_t, const Message*>> objects;  // type name, id
  std::map<std::string, MemoryRecords> memory;
};

// "core-12.img" is of process 12; other files are named as they are.
std::string owner_of(const std::string& file, const DiffContext& context) {
  const size_t dash = file.rfind('-'), dot = file.rfind(".img");
  if (dash != std::string::npos && dot != std::string::npos && dash < dot) {
    const std::string number = file.substr(dash + 1, dot - dash - 1);
    for (const int32_t pid : context.pids)
      if (number == fmt::to_string(pid)) return "process " + number;
  }
  return file.substr(0, dot);
}

// Descriptors first: what is found behind a number is told where it is found first.
int rank_of(const std::string& file) {
  static constexpr std::string_view kOrder[] = {"core-", "fdinfo-", "fs-", "mm-"};
  const auto* found = std::find_if(std::begin(kOrder), std::end(kOrder), [&](auto s) { return file.starts_with(s); });
  return static_cast<int>(found - std::begin(kOrder));
}

class ImageDiff : public MessageDiffSink {
 public:
  ImageDiff(const std::string& before, const std::string& after) : a_(before), b_(after) {}
  std::vector<Difference> run();

  void changed(const FieldChange& change) override;
  void refers(std::string_view records, uint64_t a, uint64_t b, const FieldChange& where) override;

 private:
  void begin();
  void compare_file(const std::string& name);
  void compare_records(const Records& a, const Records& b);
  bool is_timed_out(const Message& before, const Message& after);
  void compare_mappings(const MemoryRecords& a, const MemoryRecords& b);
  void compare_memory(const std::string& name);
  void compare_objects(const std::string& type, uint64_t a, uint64_t b);
  void compare_shared(uint32_t a, uint32_t b);
  void compare_ghosts(const image::Ghost& a, const image::Ghost& b);
  void compare_unreferred();
  void tell_pages(const std::string& what, const std::vector<PageDifference>& differences);
  void tell(std::string field, std::string before = {}, std::string after = {}, const char* reason = nullptr);

  struct Partner {
    uint64_t id;
    std::string where;  // it was met first
  };
  Loaded a_, b_;
  DiffContext context_;
  std::vector<std::string> trail_;
  std::vector<Difference> differences_;
  // Numbers differ from image to image; what counts is that the same places share the same object.
  std::map<std::string, std::map<uint64_t, Partner>, std::less<>> of_a_, of_b_;
};

std::vector<Difference> ImageDiff::run() {
  begin();
  compare_messages(a_.reader.inventory(), b_.reader.inventory(), *this);
  std::vector<std::string> names;
  for (const auto& [name, records] : a_.files) names.push_back(name);
  for (const auto& [name, records] : b_.files)
    if (!a_.files.contains(name)) names.push_back(name);
  std::stable_sort(names.begin(), names.end(), [](const auto& x, const auto& y) { return rank_of(x) < rank_of(y); });
  for (const std::string& name : names) compare_file(name);
  compare_unreferred();
  return std::move(differences_);
}

void ImageDiff::begin() {
  for (const Loaded* side : {&a_, &b_})
    for (const int32_t pid : side->reader.inventory().pids()) context_.pids.insert(pid);
  uint64_t dump_us = 0;
  for (const auto& [name, records] : a_.files)
    for (const auto& record : records)
      if (record->GetDescriptor() == image::DumpStatistics::descriptor()) {
        const auto& statistics = static_cast<const image::DumpStatistics&>(*record);
        dump_us = statistics.freeze_us() + statistics.state_us() + statistics.memory_us();
      }
  for (const auto& [side, connections] :
       {std::pair{&a_, &context_.connections.a}, std::pair{&b_, &context_.connections.b}})
    for (const auto& [name, records] : side->files)
      for (const auto& record : records)
        if (image::TcpSocket socket; record->GetDescriptor() == image::FileObject::descriptor() &&
                                     static_cast<const image::FileObject&>(*record).body().UnpackTo(&socket))
          connections->add(socket);
  context_.elapsed_ns = elapsed_between(a_.reader.inventory(), b_.reader.inventory(), dump_us * 1000);
}

void ImageDiff::tell(std::string field, std::string before, std::string after, const char* reason) {
  differences_.push_back({trail_, std::move(field), std::move(before), std::move(after), reason ? reason : ""});
}

void ImageDiff::changed(const FieldChange& change) {
  tell(change.path, change.before, change.after, expected_reason(change, context_));
}

void ImageDiff::compare_file(const std::string& name) {
  trail_ = {owner_of(name, context_)};
  const auto left = a_.files.find(name), right = b_.files.find(name);
  if (left == a_.files.end() || right == b_.files.end())
    return tell(name, left == a_.files.end() ? "absent" : "present", right == b_.files.end() ? "absent" : "present");
  context_.timers.clear();
  for (const auto& record : left->second)
    if (record->GetDescriptor() == image::ProcessCore::descriptor())
      context_.timers = armed_timers(static_cast<const image::ProcessCore&>(*record));
  compare_records(left->second, right->second);
  if (a_.memory.contains(name) || b_.memory.contains(name)) compare_memory(name);
}

bool ImageDiff::is_timed_out(const Message& before, const Message& after) {
  if (before.GetDescriptor() != image::ThreadCore::descriptor()) return false;
  return has_timed_out(
      static_cast<const image::ThreadCore&>(before), static_cast<const image::ThreadCore&>(after),
      [&](uint64_t at, size_t bytes) {
        const std::string name = fmt::format("mm-{}.img", trail_.front().substr(trail_.front().rfind(' ') + 1));
        return read_content(content_of(a_.memory[name], 0, name, a_.pages), at, bytes);
      },
      b_.reader.inventory(), context_.elapsed_ns);
}

// By type and key, without a key by their place among those of their type.
void ImageDiff::compare_records(const Records& a, const Records& b) {
  const auto keyed = [](const Records& records) {
    std::vector<std::pair<std::string, const Message*>> list;
    std::map<std::string, int> seen;
    for (const auto& record : records) {
      const auto* type = record->GetDescriptor();
      const bool is_memory = type == image::Vma::descriptor() || type == image::PageRun::descriptor() ||
                             type == image::InheritedPages::descriptor();
      if (is_memory || id_of(*record) != 0) continue;
      const std::string key = key_of(*record);
      const int ordinal = seen[short_name(*type) + key]++;
      list.emplace_back(
          key.empty() || ordinal > 0 ? fmt::format("{} {} #{}", short_name(*type), key, ordinal + 1) : key,
          record.get());
    }
    return list;
  };
  const auto left = keyed(a), right = keyed(b);
  const auto find = [](const auto& list, const std::string& key) {
    return std::find_if(list.begin(), list.end(), [&](const auto& e) { return e.first == key; });
  };
  for (const auto& [key, record] : left) {
    const auto other = find(right, key);
    if (other == right.end() || other->second->GetDescriptor() != record->GetDescriptor()) {
      tell(key, "present", "absent");
      continue;
    }
    const bool has_key = !key.ends_with(" #1");
    context_.timed_out = is_timed_out(*record, *other->second);
    if (has_key) trail_.push_back(key);
    compare_messages(*record, *other->second, *this);
    if (has_key) trail_.pop_back();
  }
  for (const auto& [key, record] : right)
    if (find(left, key) == left.end()) tell(key, "absent", "present");
}

void ImageDiff::refers(std::string_view records, uint64_t a, uint64_t b, const FieldChange& where) {
  if (a == 0 && b == 0) return;
  if (a == 0 || b == 0) return tell(where.path, a ? "present" : "absent", b ? "present" : "absent");
  auto& left = of_a_[std::string(records)];
  auto& right = of_b_[std::string(records)];
  const auto known_a = left.find(a), known_b = right.find(b);
  if (known_a != left.end() && known_b != right.end() && known_a->second.id == b && known_b->second.id == a) return;
  if (known_a != left.end() || known_b != right.end()) {
    const auto text = [](const auto& known, const auto& map) {
      return known == map.end() ? std::string("of its own") : "shared with " + known->second.where;
    };
    return tell(where.path, text(known_a, left), text(known_b, right));
  }
  const std::string place = fmt::format("{} > {}", fmt::join(trail_, " > "), where.path);
  left[a] = {b, place};
  right[b] = {a, place};
  const bool is_named = where.field != "Descriptor.file";  // its number says it already
  if (is_named) trail_.push_back(where.path);
  compare_objects(std::string(records), a, b);
  if (is_named) trail_.pop_back();
}

void ImageDiff::compare_objects(const std::string& type, uint64_t a, uint64_t b) {
  const Message *left = a_.object(type, a), *right = b_.object(type, b);
  if (!left && !right) return;  // the number is all there is
  if (!left || !right) return tell(type, left ? "present" : "absent", right ? "present" : "absent");
  compare_messages(*left, *right, *this);
  if (left->GetDescriptor() == image::Ghost::descriptor())
    compare_ghosts(static_cast<const image::Ghost&>(*left), static_cast<const image::Ghost&>(*right));
  if (left->GetDescriptor() == image::SharedMemory::descriptor())
    compare_shared(static_cast<uint32_t>(a), static_cast<uint32_t>(b));
}

// What nothing refers to, as far as this program knows: in the order of the numbers.
void ImageDiff::compare_unreferred() {
  for (const auto& [type, objects] : a_.objects) {
    std::vector<uint32_t> left, right;
    for (const auto& [id, record] : objects)
      if (!of_a_[type].contains(id)) left.push_back(id);
    for (const auto& [id, record] : b_.objects[type])
      if (!of_b_[type].contains(id)) right.push_back(id);
    for (size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
      trail_ = {fmt::format("{} {}", type, i < left.size() ? left[i] : right[i])};
      compare_objects(type, i < left.size() ? left[i] : 0, i < right.size() ? right[i] : 0);
    }
  }
  for (const auto& [type, objects] : b_.objects) {
    trail_.clear();
    if (!a_.objects.contains(type))
      for (const auto& [id, record] : objects) tell(fmt::format("{} {}", type, id), "absent", "present");
  }
}

void ImageDiff::compare_mappings(const MemoryRecords& a, const MemoryRecords& b) {
  for (const MappingPair& pair : pair_mappings(a.vmas, b.vmas)) {
    const std::string range = fmt::format("mapping {:#x}-{:#x}", pair.start, pair.end);
    if (!pair.a || !pair.b) {
      tell(range, pair.a ? mapping_text(*pair.a) : "absent", pair.b ? mapping_text(*pair.b) : "absent");
      continue;
    }
    trail_.push_back(range);
    compare_messages(*pair.a, *pair.b, *this);
    trail_.pop_back();
  }
}

void ImageDiff::compare_memory(const std::string& name) {
  const MemoryRecords &a = a_.memory[name], &b = b_.memory[name];
  compare_mappings(a, b);
  std::vector<KernelWrite> writes;
  if (const auto core = a_.files.find("core" + name.substr(name.find('-'))); core != a_.files.end())
    for (const auto& record : core->second)
      if (record->GetDescriptor() == image::ThreadCore::descriptor())
        for (const KernelWrite& write : kernel_writes(static_cast<const image::ThreadCore&>(*record)))
          writes.push_back(write);
  for (const DifferentRange& range : compare_pages(a.vmas, content_of(a, 0, name, a_.pages),
                                                   content_of(b, 0, name, b_.pages), writes, context_.elapsed_ns))
    tell_pages(fmt::format("memory {:#x}-{:#x}", range.start, range.end), {range.difference});
}

void ImageDiff::tell_pages(const std::string& what, const std::vector<PageDifference>& differences) {
  for (const PageDifference& d : differences)
    tell(fmt::format("{}: {} page{} differ{} (first byte at {:#x})", what, d.pages, d.pages == 1 ? "" : "s",
                     d.pages == 1 ? "s" : "", d.first_byte),
         {}, {}, d.reason);
}

void ImageDiff::compare_shared(uint32_t a, uint32_t b) {
  const MemoryRecords *left = a_.memory_with(a), *right = b_.memory_with(b);
  const Content before = left ? content_of(*left, a, "shared memory", a_.pages) : Content("");
  const Content after = right ? content_of(*right, b, "shared memory", b_.pages) : Content("");
  PageDifference difference;
  compare_contents(
      before, after, [](uint64_t) { return true; },
      [&](const DifferentPiece& piece) {
        if (difference.pages++ == 0) difference.first_byte = piece.at;
      });
  if (difference.pages > 0) tell_pages("content", {difference});
}

void ImageDiff::compare_ghosts(const image::Ghost& a, const image::Ghost& b) {
  const auto content = [](const image::Ghost& ghost, PageFiles& files) {
    Content result(ghost.content_file());
    for (const image::GhostExtent& e : ghost.extents())
      if (e.bytes() > 0) result.add(stretch_of(e, files.open(ghost.content_file())));
    return result;
  };
  PageDifference difference;
  // Where a file has no data it reads as zeros: whether zeros are stored or left out is not told.
  compare_contents(
      content(a, a_.files_of_pages), content(b, b_.files_of_pages), [](uint64_t) { return true; },
      [&](const DifferentPiece& piece) {
        if (difference.pages++ == 0) difference.first_byte = piece.at;
      });
  if (difference.pages > 0) tell_pages("content", {difference});
}

}  // namespace

std::vector<Difference> diff(const std::string& before, const std::string& after) {
  return ImageDiff(before, after).run();
}

}  // namespace mcr::images
