// --check: whether mini-criu has become slower beside CRIU than it was.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bench {

struct Verdict {
  int compared = 0;
  std::vector<std::string> worse;    // each a reason to fail
  std::vector<std::string> skipped;  // in the baseline, but not measured now
};

// A ratio to CRIU may be 15 % above that of the baseline. A case that mini-criu no longer passes is worse, too.
Verdict compare_with_baseline(const nlohmann::json& now, const nlohmann::json& baseline);

}  // namespace bench
