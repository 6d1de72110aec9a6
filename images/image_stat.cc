#include <fmt/format.h>

#include <algorithm>

#include "images/image_tables.h"
#include "images/show.h"

namespace mcr::images {
namespace {

std::vector<Cell> cells_of(const ContentSums& sums) {
  return {cell_of_size(sums.content), cell_of_size(sums.stored),   cell_of_size(sums.raw),
          cell_of_size(sums.packed),  cell_of_size(sums.zero),     cell_of_size(sums.repeated),
          cell_of_size(sums.parent),  cell_of_size(sums.inherited)};
}

std::vector<Column> columns_behind(std::vector<Column> first) {
  for (const Column& column :
       {Column{"CONTENT", "content_bytes"}, Column{"STORED", "stored_bytes"}, Column{"RAW", "raw_bytes"},
        Column{"PACKED", "packed_bytes"}, Column{"ZERO", "zero_bytes"}, Column{"REPEATED", "repeated_bytes"},
        Column{"IN PARENT", "parent_bytes"}, Column{"INHERITED", "inherited_bytes"}})
    first.push_back(column);
  return first;
}

void add(Table& table, std::vector<Cell> row, const ContentSums& sums, std::vector<Cell> behind = {}) {
  for (Cell& cell : cells_of(sums)) row.push_back(std::move(cell));
  for (Cell& cell : behind) row.push_back(std::move(cell));
  table.add(std::move(row));
}

bool is_in(const google::protobuf::RepeatedPtrField<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

// By what the image says of it where that can be told, by its name where it is only for the eye.
std::string group_of(const image::Inventory& inventory, const image::FileSummary& file) {
  if (is_in(inventory.streams(), file.name())) return "memory, in streams";
  if (file.checksum() == 0) return file.name().starts_with("ghost-") ? "deleted files and the like" : "memory";
  for (const auto& [prefix, group] : {std::pair{"mm-", "maps of memory"}, std::pair{"core-", "processes and threads"},
                                      std::pair{"fdinfo-", "descriptors"}, std::pair{"fs-", "folders of processes"}})
    if (file.name().starts_with(prefix)) return group;
  return file.name();
}

struct Totals {
  uint64_t files = 0, bytes = 0, disk = 0;
  ContentSums sums;
};

Totals totals_of(const ImageView& image) {
  Totals totals;
  for (const auto& file : image.inventory.files())
    ++totals.files, totals.bytes += file.size(), totals.disk += disk_bytes(image, file);
  for (const ProcessView& process : image.processes) totals.sums.add(process.sums);
  return totals;
}

std::string share(uint64_t part, uint64_t whole) {
  return whole == 0 ? "0" : fmt::format("{:.0f}", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

}  // namespace

Table content_table(const ImageView& image) {
  std::vector<Column> columns = columns_behind({{"PID", "pid"}});
  columns.push_back({"COMMAND", "command", true});
  Table table(std::move(columns));
  for (const ProcessView& process : image.processes)
    add(table, {cell_of_number(process.core.pid())}, process.sums, {cell_of_text(process.core.command())});
  return table;
}

Table kind_table(const ImageView& image) {
  struct Kind {
    int64_t mappings = 0;
    uint64_t mapped = 0;
    ContentSums sums;
  };
  std::map<std::string, Kind> kinds;
  for (const ProcessView& process : image.processes) {
    for (const MappingView& mapping : process.mappings) {
      Kind& kind = kinds[kind_of(mapping.vma)];
      ++kind.mappings, kind.mapped += mapping.bytes();
      kind.sums.add(mapping.sums);
    }
    for (const auto& [id, shared] : process.shared) kinds["shared memory"].sums.add(shared.sums);
  }
  Table table(columns_behind({{"KIND", "kind", true}, {"MAPPINGS", "mappings"}, {"MAPPED", "mapped_bytes"}}));
  for (const auto& [name, kind] : kinds)
    add(table, {cell_of_text(name), cell_of_number(kind.mappings), cell_of_size(kind.mapped)}, kind.sums);
  return table;
}

Table file_table(const ImageView& image) {
  struct Group {
    int64_t files = 0;
    uint64_t bytes = 0, disk = 0;
  };
  std::map<std::string, Group> groups;
  for (const auto& file : image.inventory.files()) {
    Group& group = groups[group_of(image.inventory, file)];
    ++group.files, group.bytes += file.size(), group.disk += disk_bytes(image, file);
  }
  Table table({{"OF THE IMAGE", "what", true}, {"FILES", "files"}, {"ON DISK", "disk_bytes"}, {"LENGTH", "bytes"}});
  for (const auto& [name, group] : groups)
    table.add({cell_of_text(name), cell_of_number(group.files), cell_of_size(group.disk), cell_of_size(group.bytes)});
  return table;
}

std::string stat_text(const ImagePlace& place) {
  const ImageView image = view_of(place);
  const Totals totals = totals_of(image);
  std::string text = fmt::format("{} on disk in {} files", size_text(totals.disk), totals.files);
  text += fmt::format("; {} of memory take {} ({} %)\n\n", size_text(totals.sums.content),
                      size_text(totals.sums.stored), share(totals.sums.stored, totals.sums.content));
  text += content_table(image).text() + "\n";
  text += kind_table(image).text() + "\n";
  return text + file_table(image).text();
}

std::string stat_json(const ImagePlace& place) {
  const ImageView image = view_of(place);
  const Totals totals = totals_of(image);
  JsonObject object;
  object.add("ok", json_of_flag(true));
  object.add("command", json_of_text("stat"));
  object.add("files", json_of_number(static_cast<double>(totals.files)));
  object.add("bytes", json_of_number(static_cast<double>(totals.bytes)));
  object.add("disk_bytes", json_of_number(static_cast<double>(totals.disk)));
  object.add("content_bytes", json_of_number(static_cast<double>(totals.sums.content)));
  object.add("stored_bytes", json_of_number(static_cast<double>(totals.sums.stored)));
  object.add("processes", content_table(image).json());
  object.add("kinds", kind_table(image).json());
  object.add("parts", file_table(image).json());
  return json_text(object.value());
}

}  // namespace mcr::images
