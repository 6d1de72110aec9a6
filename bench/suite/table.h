// The results as a table on the terminal, and what is being measured while it is.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace bench {

void print_table(const nlohmann::json& results, bool all_figures);

// A line on standard error that is written over where that is a terminal; otherwise one line for each case.
class ProgressLine {
 public:
  explicit ProgressLine(double budget) : budget_(budget) {}
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(double seconds, const std::string& what, const std::string& engine, int round);

 private:
  double budget_;
  std::string last_;
  bool open_ = false;
};

}  // namespace bench
