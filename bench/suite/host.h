// The machine and the versions, for the results.
#pragma once

#include <nlohmann/json.hpp>

#include "bench/suite/engine.h"

namespace bench {

nlohmann::json describe_machine(const std::string& memory_folder, const std::string& disk_folder);
nlohmann::json describe_engines(const std::vector<Found>& engines);
// Commit of the sources, with "-changed" where they differ from it; "" outside of a repository.
std::string source_commit();
std::string now_as_text();  // UTC
double load_average();

}  // namespace bench
