// Rows and columns, for people as text and for scripts as JSON. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "images/json_value.h"

namespace mcr::images {

std::string size_text(uint64_t bytes);  // "1.5 MiB", "80 bytes"

// What a person reads, and what a script gets.
struct Cell {
  std::string text;
  Json json;
};
Cell cell_of_text(std::string_view bytes);  // any bytes
Cell cell_of_number(int64_t number);
Cell cell_of_size(uint64_t bytes);  // 0: an empty cell, and 0
Cell cell_of_address(uint64_t address);

struct Column {
  const char* title;
  const char* key;
  bool is_left = false;  // where its text stands
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<Cell> row);  // as many as columns
  bool empty() const { return rows_.empty(); }
  size_t size() const { return rows_.size(); }
  std::string text() const;  // columns that are empty in all rows are left out
  Json json() const;         // a list of objects

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace mcr::images
