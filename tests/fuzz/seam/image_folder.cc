#include "tests/fuzz/seam/image_folder.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>

#include "core/sys/file.h"
#include "images/format.h"
#include "images/messages.h"
#include "images/proto/files.pb.h"
#include "images/proto/mm.pb.h"
#include "tests/fuzz/seam/world.h"

namespace mcr::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr uint64_t kMostPages = 4 << 20;  // zeros are cheap, but every checksum reads them

bool take(std::string_view& bytes, size_t count, std::string& into) {
  if (count > bytes.size()) return false;
  into = bytes.substr(0, count);
  bytes.remove_prefix(count);
  return true;
}

size_t number(std::string_view bytes) {
  size_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= size_t{static_cast<unsigned char>(bytes[i])} << 8 * i;
  return value;
}

std::string pages_content(const std::string& payload) {
  const uint64_t size = payload.size() < 8 ? 0 : images::number_at<uint64_t>(payload, 0) % kMostPages;
  std::string content = payload.size() < 8 ? std::string() : payload.substr(8);
  content.resize(std::max<size_t>(content.size(), size));
  return content;
}

// The checksums that a run of pages would have been written with.
template <typename Run>
void mend_run(Run& run, const std::string& file) {
  const uint64_t chunk = run.chunk_bytes();
  if (chunk == 0 || run.offset() > file.size() || run.bytes() > file.size() - run.offset()) return;
  if (run.bytes() / chunk > 4096) return;
  run.clear_checksums();
  for (uint64_t done = 0; done < run.bytes(); done += chunk)
    run.add_checksums(
        images::checksum_of(file.data() + run.offset() + done, std::min<uint64_t>(chunk, run.bytes() - done)));
}

using Files = std::map<std::string, std::string>;

std::string mended(const Frame& frame, const Files& pages, const std::string& pages_file) {
  const auto content = [&](const std::string& name) -> const std::string& {
    static const std::string none;
    const auto found = pages.find(name);
    return found == pages.end() ? none : found->second;
  };
  if (frame.type == image::PageRun::descriptor()->full_name()) {
    image::PageRun run;
    if (!images::parse_bounded(frame.payload, run)) return frame.payload;
    mend_run(run, content(pages_file));
    return run.SerializeAsString();
  }
  if (frame.type == image::Ghost::descriptor()->full_name()) {
    image::Ghost ghost;
    if (!images::parse_bounded(frame.payload, ghost)) return frame.payload;
    for (auto& extent : *ghost.mutable_extents()) mend_run(extent, content(ghost.content_file()));
    return ghost.SerializeAsString();
  }
  return frame.payload;
}

void append_record(std::string& file, std::string_view type, std::string_view payload) {
  const size_t start = file.size();
  images::append_number(file, static_cast<uint32_t>(payload.size()));
  images::append_number(file, static_cast<uint16_t>(type.size()));
  file.append(type).append(payload);
  images::append_number(file, images::checksum_of(file.data() + start, file.size() - start));
}

std::string closed(std::string file, uint64_t records) {
  std::string count;
  images::append_number(count, records);
  append_record(file, {}, count);
  return file;
}

UniqueFd file_of(const std::string& bytes) {
  UniqueFd fd = sys::make_memfd("image");
  sys::write_text(fd.get(), bytes);
  return fd;
}

void each_message(const Message& message, const std::function<void(const Message&)>& visit, int depth = 0) {
  if (depth > 8) return;
  if (message.GetDescriptor() == google::protobuf::Any::descriptor()) {
    const auto& any = static_cast<const google::protobuf::Any&>(message);
    const auto* type = images::find_message(any.type_url().substr(any.type_url().rfind('/') + 1));
    if (!type) return;
    const auto inner = images::new_message(type);
    if (images::parse_bounded(any.value(), *inner)) each_message(*inner, visit, depth + 1);
    return;
  }
  visit(message);
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const int count = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i)
      each_message(field->is_repeated() ? reflection->GetRepeatedMessage(message, field, i)
                                        : reflection->GetMessage(message, field),
                   visit, depth + 1);
  }
}

uint64_t number_field(const Message& message, const char* name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(name);
  if (!field || field->is_repeated()) return 0;
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) return message.GetReflection()->GetUInt32(message, field);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) return message.GetReflection()->GetUInt64(message, field);
  return 0;
}

std::string text_field(const Message& message, const char* name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(name);
  if (!field || field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) return {};
  return message.GetReflection()->GetString(message, field);
}

void make_node(const Message& message) {
  auto& nodes = World::get().nodes;
  const auto* type = message.GetDescriptor();
  const bool is_device = type->FindFieldByName("major") != nullptr;
  for (const char* name : {"path", "fifo_path"}) {
    const std::string path = text_field(message, name);
    if (path.empty() || path.front() != '/' || path.starts_with("/proc/")) continue;
    for (size_t slash = path.rfind('/'); slash != std::string::npos && slash > 0; slash = path.rfind('/', slash - 1))
      nodes.emplace(path.substr(0, slash), Node{S_IFDIR | 0755, 0, 0});
    nodes.emplace("/", Node{S_IFDIR | 0755, 0, 0});
    if (number_field(message, "deleted") != 0 || type->full_name() == "mcr.image.Ghost") continue;
    Node node{static_cast<mode_t>(number_field(message, "mode")), number_field(message, "size"), 0};
    if (is_device) node = {S_IFCHR | 0666, 0, 0};
    if (is_device)
      node.device = ((number_field(message, "major") & 0xfff) << 8) | (number_field(message, "minor") & 0xff);
    if (std::string_view(name) == "fifo_path") node.mode = S_IFIFO | 0600;
    nodes[path] = node;
  }
}

}  // namespace

ImageBytes parse_image(std::string_view bytes) {
  ImageBytes image;
  if (!take(bytes, ImageBytes::kSettings, image.settings)) image.settings.resize(ImageBytes::kSettings);
  for (std::string length; image.frames.size() < 1000;) {
    Frame frame;
    if (!take(bytes, 1, length) || !take(bytes, number(length), frame.file)) break;
    if (!take(bytes, 1, length) || !take(bytes, number(length), frame.type)) break;
    if (!take(bytes, 3, length) || !take(bytes, number(length), frame.payload)) break;
    image.frames.push_back(std::move(frame));
  }
  return image;
}

std::string serialize(const ImageBytes& image) {
  std::string bytes = image.settings;
  for (const Frame& frame : image.frames) {
    bytes += static_cast<char>(frame.file.size());
    bytes += frame.file;
    bytes += static_cast<char>(frame.type.size());
    bytes += frame.type;
    for (int i = 0; i < 3; ++i) bytes += static_cast<char>(frame.payload.size() >> 8 * i);
    bytes += frame.payload;
  }
  return bytes;
}

void build_image(const ImageBytes& image, const std::string& folder, bool mend) {
  World::Image& made = World::get().images[folder];
  const std::string id(images::kImageIdBytes, 'i');
  Files pages, records;
  std::map<std::string, uint64_t> counts;
  std::map<std::string, std::string> pages_files;  // of the memory map that came last in that file
  image::Inventory inventory;
  for (const Frame& frame : image.frames) {
    if (frame.type.empty())
      pages[frame.file] = images::encode_header(images::FileKind::pages, id) + pages_content(frame.payload);
    else if (frame.type == kInventoryType)
      images::parse_bounded(frame.payload, inventory);
    image::MemoryMap map;
    if (frame.type == image::MemoryMap::descriptor()->full_name() && images::parse_bounded(frame.payload, map))
      pages_files[frame.file] = map.pages_file();
  }
  for (const Frame& frame : image.frames) {
    if (frame.type.empty() || frame.type == kInventoryType || pages.contains(frame.file)) continue;
    auto [file, is_new] = records.try_emplace(frame.file);
    if (is_new) file->second = images::encode_header(images::FileKind::records, id);
    append_record(file->second, frame.type, mend ? mended(frame, pages, pages_files[frame.file]) : frame.payload);
    ++counts[frame.file];
  }
  inventory.clear_files();
  inventory.set_format_version(images::kFormatVersion);
  const auto list = [&](const std::string& name, const std::string& bytes, bool is_pages) {
    auto* file = inventory.add_files();
    file->set_name(name);
    file->set_size(bytes.size());
    if (!is_pages) file->set_checksum(images::checksum_of(bytes.data(), bytes.size()));
    made[name] = file_of(bytes);
  };
  for (const auto& [name, bytes] : pages) list(name, bytes, true);
  for (const auto& [name, bytes] : records) list(name, closed(bytes, counts[name]), false);
  std::string file = images::encode_header(images::FileKind::records, id);
  append_record(file, kInventoryType, inventory.SerializePartialAsString());
  made[images::kInventoryName] = file_of(closed(file, 1));
}

void make_nodes(const ImageBytes& image) {
  for (const Frame& frame : image.frames) {
    const auto* type = images::find_message(frame.type);
    if (!type) continue;
    const auto message = images::new_message(type);
    if (images::parse_bounded(frame.payload, *message)) each_message(*message, make_node);
  }
}

}  // namespace mcr::fuzz
