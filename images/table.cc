#include "images/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "images/byte_text.h"

namespace mcr::images {
namespace {

constexpr size_t kWidest = 60;  // a longer cell pushes its own row aside, and no other

size_t width_of(std::string_view text) {  // of UTF-8
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

void put(std::string& line, std::string_view text, size_t width, bool is_left, bool is_last) {
  const std::string padding(width - std::min(width, width_of(text)), ' ');
  if (!line.empty()) line += "  ";
  if (is_left)
    line.append(text).append(is_last ? std::string() : padding);
  else
    line.append(padding).append(text);
}

}  // namespace

std::string size_text(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

Cell cell_of_text(std::string_view bytes) {
  const std::string text = escaped(bytes);
  return {text, json_of_text(text)};
}
Cell cell_of_number(int64_t number) {
  return {std::to_string(number), json_of_number(static_cast<double>(number))};
}
Cell cell_of_size(uint64_t bytes) {
  return {bytes == 0 ? std::string() : size_text(bytes), json_of_number(static_cast<double>(bytes))};
}
Cell cell_of_address(uint64_t address) {
  return {fmt::format("{:x}", address), json_of_text(fmt::format("{:#x}", address))};
}

void Table::add(std::vector<Cell> row) {
  if (row.size() != columns_.size()) throw Error(Fault::internal, "a row of another length than its table");
  rows_.push_back(std::move(row));
}

std::string Table::text() const {
  std::vector<size_t> widths(columns_.size(), rows_.empty() ? 1 : 0);
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], std::min(kWidest, width_of(row[i].text)));
  size_t last = 0;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (widths[i] == 0) continue;
    widths[i] = std::max(widths[i], width_of(columns_[i].title));
    last = i;
  }
  std::string text, line;
  for (size_t i = 0; i < columns_.size(); ++i)
    if (widths[i] != 0) put(line, columns_[i].title, widths[i], columns_[i].is_left, i == last);
  text = line + "\n";
  for (const auto& row : rows_) {
    line.clear();
    for (size_t i = 0; i < row.size(); ++i)
      if (widths[i] != 0) put(line, row[i].text, widths[i], columns_[i].is_left, i == last);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

Json Table::json() const {
  JsonList list;
  for (const auto& row : rows_) {
    JsonObject object;
    for (size_t i = 0; i < row.size(); ++i) object.add(columns_[i].key, row[i].json);
    list.add(object.value());
  }
  return list.value();
}

}  // namespace mcr::images
