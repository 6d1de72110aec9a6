#include "core/jobs/outcome.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/jobs/text.h"

namespace mcr::jobs {

job::Outcome outcome_of(const Error& error) {
  constexpr size_t kLongest = 16384;  // must fit into a pipe and a message
  const auto& trail = error.trail();
  std::string text;
  for (size_t i = std::min(Step::trail().size(), trail.size()); i < trail.size(); ++i)
    text += (text.empty() ? "" : " > ") + trail[i];
  text += (text.empty() ? "" : ": ") + error.reason();
  job::Outcome outcome;
  outcome.set_reason(as_utf8(text.substr(0, kLongest)));
  outcome.set_remedy(as_utf8(error.remedy()));
  outcome.set_fault(std::string(fault_name(error.fault())));
  return outcome;
}

}  // namespace mcr::jobs
