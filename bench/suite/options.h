// What bench/compare was asked to do.
#pragma once

#include "bench/suite/case.h"
#include "bench/suite/engine.h"
#include "bench/suite/schedule.h"

namespace bench {

struct Options {
  Places places;
  Plan plan;
  Sizes sizes;
  Workshop workshop;
  bool quick = false, list = false, all_figures = false, harmed = false;
  Words only;  // parts of the names of cases; empty: all
  std::string json, html, markdown, check, from;
};

// Exits with status 2 when the command line is wrong, and with 0 after --help.
Options read_options(int argc, char** argv);

}  // namespace bench
