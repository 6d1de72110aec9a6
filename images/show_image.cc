#include <fmt/chrono.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <set>

#include "core/base/error.h"
#include "images/byte_text.h"
#include "images/image_tables.h"
#include "images/seal.h"
#include "images/show.h"
#include "images/socket_view.h"

namespace mcr::images {
namespace {

constexpr size_t kMostDescriptors = 24;  // of one process, for a person; a script gets all of them

std::string time_text(uint64_t unix_ns) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(unix_ns / 1'000'000'000)));
}

int64_t age_of(const image::Inventory& inventory) {  // seconds; below zero: taken in the future of this clock
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  return now.count() - static_cast<int64_t>(inventory.created_unix_ns() / 1'000'000'000);
}

std::string age_text(int64_t seconds) {
  if (seconds < 0) return "in the future";
  if (seconds < 120) return fmt::format("{} second{} ago", seconds, seconds == 1 ? "" : "s");
  if (seconds < 120 * 60) return fmt::format("{} minutes ago", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{} hours ago", seconds / 3600);
  return fmt::format("{} days ago", seconds / 86400);
}

struct Counts {
  uint64_t threads = 0, descriptors = 0, sockets = 0, mapped = 0, files = 0;
  ContentSums sums;
};

Counts counts_of(const ImageView& image) {
  Counts counts;
  for (const ProcessView& process : image.processes) {
    counts.threads += process.core.thread_count();
    counts.descriptors += process.descriptors.size();
    counts.mapped += process.mapped();
    counts.sums.add(process.sums);
  }
  for (const auto& [id, object] : image.objects)
    if (socket_view(object)) ++counts.sockets;
  for (const auto& file : image.inventory.files()) counts.files += disk_bytes(image, file);
  return counts;
}

std::string of(uint64_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

// The id of the key; empty: it is not sealed, or came as a stream.
std::string key_of(const ImagePlace& place) {
  return place.received ? std::string() : sealed_with(place.directory).value_or("");
}

std::string command_of(const ImageView& image) {
  for (const ProcessView& process : image.processes)
    if (process.core.pid() == image.inventory.root_pid()) return escaped(process.core.command());
  return {};
}

std::string head_text(const ImageView& image, const ImagePlace& place) {
  const image::Inventory& inventory = image.inventory;
  const Counts counts = counts_of(image);
  std::string text =
      fmt::format("image of process {}{}, taken {} ({}) on {}\n", inventory.root_pid(),
                  command_of(image).empty() ? "" : fmt::format(" ({})", command_of(image)),
                  time_text(inventory.created_unix_ns()), age_text(age_of(inventory)), escaped(inventory.host()));
  text +=
      fmt::format("by mini-criu {} (image format {}) under Linux {} on {}\n", escaped(inventory.engine_version()),
                  inventory.format_version(), escaped(inventory.kernel_release()), escaped(inventory.architecture()));
  text += fmt::format("{}, {}, {}, {}; {} mapped, {} with content; the image takes {}\n",
                      of(image.processes.size(), "process", "processes"), of(counts.threads, "thread", "threads"),
                      of(counts.descriptors, "descriptor", "descriptors"), of(counts.sockets, "socket", "sockets"),
                      size_text(counts.mapped), size_text(counts.sums.content), size_text(counts.files));
  if (inventory.has_parent())
    text += fmt::format("builds upon the image in {}: {} are there\n", escaped(inventory.parent().path()),
                        size_text(counts.sums.parent));
  if (inventory.memory_only()) text += "memory only, ahead of a dump: nothing can be restored from it alone\n";
  if (const std::string key = key_of(place); !key.empty())
    text += fmt::format("says it is sealed with the key {}: mini-criu verify --key proves it\n", key);
  return text;
}

std::string descriptor_lines(const ImageView& image) {
  std::string text;
  for (const ProcessView& process : image.processes) {
    if (process.descriptors.empty()) continue;
    text += fmt::format("\ndescriptors of {}\n", process.core.pid());
    size_t shown = 0;
    for (const auto& descriptor : process.descriptors) {
      if (++shown > kMostDescriptors) {
        text +=
            fmt::format("{:>9}  {} more: mini-criu show --fds\n", "...", process.descriptors.size() - kMostDescriptors);
        break;
      }
      const auto found = image.objects.find(descriptor.file());
      const bool is_known = found != image.objects.end();
      const std::string kind = is_known ? found->second.kind() : "", path = is_known ? path_of(found->second) : "";
      text += fmt::format("{:>9}  {:<18} {}\n", descriptor.fd(), escaped(kind), escaped(path));
    }
  }
  return text;
}

Json json_of_descriptor(const ImageView& image, const image::Descriptor& descriptor) {
  const auto found = image.objects.find(descriptor.file());
  const bool is_known = found != image.objects.end();
  JsonObject object;
  object.add("fd", json_of_number(descriptor.fd()));
  object.add("object", json_of_number(descriptor.file()));
  object.add("kind", json_of_text(is_known ? found->second.kind() : ""));
  object.add("path", json_of_text(is_known ? escaped(path_of(found->second)) : ""));
  return object.value();
}

Json json_of_size(uint64_t bytes) {
  return json_of_number(static_cast<double>(bytes));
}

Json json_of_process(const ImageView& image, const ProcessView& process) {
  JsonObject object;
  object.add("pid", json_of_number(process.core.pid()));
  object.add("ppid", json_of_number(process.core.ppid()));
  object.add("pgid", json_of_number(process.core.pgid()));
  object.add("sid", json_of_number(process.core.sid()));
  object.add("command", json_of_text(escaped(process.core.command())));
  object.add("state", json_of_text(state_of(process.core)));
  object.add("threads", json_of_number(process.core.thread_count()));
  JsonList names, descriptors;
  for (const std::string& name : process.thread_names) names.add(json_of_text(escaped(name)));
  object.add("thread_names", names.value());
  object.add("mappings", json_of_size(process.mappings.size()));
  object.add("mapped_bytes", json_of_size(process.mapped()));
  object.add("content_bytes", json_of_size(process.sums.content));
  object.add("stored_bytes", json_of_size(process.sums.stored));
  for (const auto& descriptor : process.descriptors) descriptors.add(json_of_descriptor(image, descriptor));
  object.add("descriptors", descriptors.value());
  return object.value();
}

Json json_of_file(const image::FileSummary& file) {
  JsonObject object;
  object.add("name", json_of_text(escaped(file.name())));
  object.add("size", json_of_size(file.size()));
  return object.value();
}

Table table_of(const ImageView& image, const Shown& shown) {
  switch (shown.part) {
    case Part::tree:
      return tree_table(image);
    case Part::descriptors:
      return descriptor_table(image, shown.pid);
    case Part::memory:
      return memory_table(image, shown.pid);
    case Part::sockets:
      return socket_table(image, shown.pid);
    case Part::mappings:
      return mapping_table(image, shown.pid);
  }
  throw Error(Fault::internal, "no such part of an image");
}

Table part_of(const ImagePlace& place, const Shown& shown) {
  const ImageView image = view_of(place);
  const auto has = [&](const ProcessView& process) { return process.core.pid() == shown.pid; };
  if (shown.pid != 0 && std::ranges::none_of(image.processes, has))
    throw Error(Fault::refused, fmt::format("the image has no process {}", shown.pid),
                "mini-criu show --tree lists its processes");
  return table_of(image, shown);
}

}  // namespace

std::string show_image_text(const ImagePlace& place) {
  const ImageView image = view_of(place);
  std::string text = head_text(image, place) + "\n" + tree_table(image).text() + descriptor_lines(image);
  if (const Table sockets = socket_table(image, 0); !sockets.empty()) text += "\nsockets\n" + sockets.text();
  text += "\nfiles\n";
  for (const auto& file : image.inventory.files())
    text += fmt::format("{:>12}  {}\n", size_text(disk_bytes(image, file)), escaped(file.name()));
  return text;
}

std::string show_image_json(const ImagePlace& place) {
  const ImageView image = view_of(place);
  const image::Inventory& inventory = image.inventory;
  JsonObject object;
  object.add("format_version", json_of_number(inventory.format_version()));
  object.add("engine_version", json_of_text(inventory.engine_version()));
  object.add("created", json_of_text(time_text(inventory.created_unix_ns())));
  object.add("age_seconds", json_of_number(static_cast<double>(age_of(inventory))));
  object.add("host", json_of_text(inventory.host()));
  object.add("kernel_release", json_of_text(inventory.kernel_release()));
  object.add("architecture", json_of_text(inventory.architecture()));
  object.add("root_pid", json_of_number(inventory.root_pid()));
  object.add("builds_upon", json_of_text(escaped(inventory.parent().path())));
  object.add("memory_only", json_of_flag(inventory.memory_only()));
  object.add("sealed_with", json_of_text(key_of(place)));
  JsonList processes, files;
  for (const ProcessView& process : image.processes) processes.add(json_of_process(image, process));
  for (const auto& file : inventory.files()) files.add(json_of_file(file));
  object.add("processes", processes.value());
  object.add("sockets", socket_table(image, 0).json());
  object.add("files", files.value());
  return json_text(object.value());
}

std::string show_part_text(const ImagePlace& place, const Shown& shown) {
  return part_of(place, shown).text();
}

std::string show_part_json(const ImagePlace& place, const Shown& shown) {
  return json_text(part_of(place, shown).json());
}

}  // namespace mcr::images
