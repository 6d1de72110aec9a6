#include <fmt/chrono.h>
#include <google/protobuf/descriptor.h>

#include <ctime>
#include <map>

#include "core/base/error.h"
#include "images/byte_text.h"
#include "images/format.h"
#include "images/json_value.h"
#include "images/messages.h"
#include "images/proto/core.pb.h"
#include "images/proto/files.pb.h"
#include "images/proto/mm.pb.h"
#include "images/show.h"

namespace mcr::images {
namespace {

struct DescriptorView {
  int32_t fd = 0;
  uint32_t object = 0;
  std::string kind, path;
};

struct ProcessView {
  int32_t pid = 0, ppid = 0;
  std::string command;
  uint32_t threads = 0;
  uint64_t mappings = 0, stored = 0;
  std::vector<DescriptorView> descriptors;
};

struct ImageView {
  image::Inventory inventory;
  std::vector<ProcessView> processes;
};

// Kinds name the path of their object "path" or "fifo_path"; those that have none have none of these fields.
std::string path_of(const google::protobuf::Any& body) {
  const std::string& url = body.type_url();
  const auto* type = find_message(std::string_view(url).substr(url.rfind('/') + 1));
  if (!type) return {};
  const auto message = new_message(type);
  if (!parse_bounded(body.value(), *message)) return {};
  for (const char* name : {"path", "fifo_path"}) {
    const auto* field = type->FindFieldByName(name);
    if (!field || field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_STRING || field->is_repeated())
      continue;
    if (std::string path = message->GetReflection()->GetString(*message, field); !path.empty()) return path;
  }
  return {};
}

std::map<uint32_t, DescriptorView> objects_of(const ImageReader& reader) {
  std::map<uint32_t, DescriptorView> objects;
  if (!reader.has("files.img")) return objects;
  RecordReader records = reader.records("files.img");
  while (records.next_type()) {
    const auto message = records.read_any();
    if (message->GetDescriptor() != image::FileObject::descriptor()) continue;
    const auto& object = static_cast<const image::FileObject&>(*message);
    objects[object.id()] = {-1, object.id(), object.kind(), path_of(object.body())};
  }
  return objects;
}

void add_memory(const ImageReader& reader, ProcessView& view) {
  const std::string name = fmt::format("mm-{}.img", view.pid);
  if (!reader.has(name)) return;
  RecordReader records = reader.records(name);
  while (records.next_type()) {
    const auto message = records.read_any();
    if (message->GetDescriptor() == image::Vma::descriptor()) ++view.mappings;
    if (message->GetDescriptor() == image::PageRun::descriptor())
      view.stored += static_cast<const image::PageRun&>(*message).bytes();
  }
}

void add_descriptors(const ImageReader& reader, const std::map<uint32_t, DescriptorView>& objects, ProcessView& view) {
  const std::string name = fmt::format("fdinfo-{}.img", view.pid);
  if (!reader.has(name)) return;
  RecordReader records = reader.records(name);
  while (records.at<image::Descriptor>()) {
    const auto descriptor = records.read<image::Descriptor>();
    const auto found = objects.find(descriptor.file());
    DescriptorView entry = found == objects.end() ? DescriptorView{} : found->second;
    entry.fd = descriptor.fd();
    view.descriptors.push_back(std::move(entry));
  }
}

ImageView view_of(const std::string& directory) {
  const ImageReader reader(directory);
  ImageView image{reader.inventory(), {}};
  const auto objects = objects_of(reader);
  for (const int32_t pid : image.inventory.pids()) {
    ProcessView view;
    view.pid = pid;
    const std::string core = fmt::format("core-{}.img", pid);
    if (reader.has(core)) {
      const auto process = reader.records(core).read<image::ProcessCore>();
      view.ppid = process.ppid();
      view.command = process.command();
      view.threads = process.thread_count();
    }
    add_memory(reader, view);
    add_descriptors(reader, objects, view);
    image.processes.push_back(std::move(view));
  }
  return image;
}

std::string time_text(uint64_t unix_ns) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(unix_ns / 1'000'000'000)));
}

std::string size_text(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

Json json_of_descriptor(const DescriptorView& entry) {
  JsonObject object;
  object.add("fd", json_of_number(entry.fd));
  object.add("object", json_of_number(entry.object));
  object.add("kind", json_of_text(entry.kind));
  object.add("path", json_of_text(escaped(entry.path)));
  return object.value();
}

Json json_of_process(const ProcessView& view) {
  JsonObject object;
  object.add("pid", json_of_number(view.pid));
  object.add("ppid", json_of_number(view.ppid));
  object.add("command", json_of_text(escaped(view.command)));
  object.add("threads", json_of_number(view.threads));
  object.add("mappings", json_of_number(static_cast<double>(view.mappings)));
  object.add("stored_bytes", json_of_number(static_cast<double>(view.stored)));
  JsonList descriptors;
  for (const DescriptorView& entry : view.descriptors) descriptors.add(json_of_descriptor(entry));
  object.add("descriptors", descriptors.value());
  return object.value();
}

Json json_of_file(const image::FileSummary& file) {
  JsonObject object;
  object.add("name", json_of_text(file.name()));
  object.add("size", json_of_number(static_cast<double>(file.size())));
  return object.value();
}

}  // namespace

std::string show_image_text(const std::string& directory) {
  const ImageView image = view_of(directory);
  const image::Inventory& inventory = image.inventory;
  std::string text = fmt::format("image of process {}, taken {} on {}\n", inventory.root_pid(),
                                 time_text(inventory.created_unix_ns()), escaped(inventory.host()));
  text +=
      fmt::format("by mini-criu {} (image format {}) under Linux {} on {}\n\n", escaped(inventory.engine_version()),
                  inventory.format_version(), escaped(inventory.kernel_release()), escaped(inventory.architecture()));
  text += fmt::format("{:>9} {:>9} {:>8} {:>9} {:>11} {:>12}  {}\n", "pid", "parent", "threads", "mappings", "stored",
                      "descriptors", "command");
  for (const ProcessView& view : image.processes)
    text += fmt::format("{:>9} {:>9} {:>8} {:>9} {:>11} {:>12}  {}\n", view.pid, view.ppid, view.threads, view.mappings,
                        size_text(view.stored), view.descriptors.size(), escaped(view.command));
  for (const ProcessView& view : image.processes) {
    text += fmt::format("\ndescriptors of {}\n", view.pid);
    for (const DescriptorView& entry : view.descriptors)
      text += fmt::format("{:>9}  {:<14} {}\n", entry.fd, escaped(entry.kind), escaped(entry.path));
  }
  text += "\nfiles\n";
  for (const auto& file : inventory.files()) text += fmt::format("{:>12}  {}\n", size_text(file.size()), file.name());
  return text;
}

std::string show_image_json(const std::string& directory) {
  const ImageView image = view_of(directory);
  const image::Inventory& inventory = image.inventory;
  JsonObject object;
  object.add("format_version", json_of_number(inventory.format_version()));
  object.add("engine_version", json_of_text(inventory.engine_version()));
  object.add("created", json_of_text(time_text(inventory.created_unix_ns())));
  object.add("host", json_of_text(inventory.host()));
  object.add("kernel_release", json_of_text(inventory.kernel_release()));
  object.add("architecture", json_of_text(inventory.architecture()));
  object.add("root_pid", json_of_number(inventory.root_pid()));
  JsonList processes, files;
  for (const ProcessView& view : image.processes) processes.add(json_of_process(view));
  for (const auto& file : inventory.files()) files.add(json_of_file(file));
  object.add("processes", processes.value());
  object.add("files", files.value());
  return json_text(object.value());
}

}  // namespace mcr::images
