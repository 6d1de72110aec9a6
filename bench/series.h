// A case measured with several engines in turn: A B A B ... The samples are kept by name and handed to the benchmark
// library one by one, as its repetitions, so that it prints their median and spread and writes each into its JSON.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bench/engine.h"

namespace bench {

using Samples = std::map<std::string, Sample>;  // by operation: "dump", "restore"

class Series {
 public:
  // One round of the case with one engine: everything it measured, or Failure.
  using Round = std::function<Samples(const Engine&)>;

  Series(std::string name, std::vector<std::string> operations, std::vector<Engine> engines, Round round)
      : name_(std::move(name)),
        operations_(std::move(operations)),
        engines_(std::move(engines)),
        round_(std::move(round)) {}

  // Registers name/operation/engine, each with so many repetitions. With warm_up, one more round of each goes first
  // and is not counted. The Series must live on until the benchmarks have run.
  void register_all(int rounds, bool warm_up);

 private:
  void measure();

  std::string name_;
  std::vector<std::string> operations_;
  std::vector<Engine> engines_;
  Round round_;
  int rounds_ = 1;
  bool warm_up_ = false;
  bool measured_ = false;
  std::string failure_;
  std::map<std::string, std::vector<Sample>> samples_;  // by operation/engine
};

// True when a case failed; the benchmark library has no exit status for it.
bool anything_failed();

}  // namespace bench
