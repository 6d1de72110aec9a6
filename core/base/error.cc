#include "core/base/error.h"

#include <fmt/ranges.h>

#include <cstring>

namespace mcr {
namespace {

std::vector<std::string>& open_steps() {
  thread_local std::vector<std::string> steps;
  return steps;
}

std::string one_line(const std::vector<std::string>& trail, const std::string& reason, const std::string& remedy) {
  std::string line = fmt::format("{}{}{}", fmt::join(trail, " > "), trail.empty() ? "" : ": ", reason);
  if (!remedy.empty()) line += fmt::format("; {}", remedy);
  return line;
}

std::string lines_of(const std::string& summary, const std::vector<Problem>& problems) {
  std::string text = summary;
  for (const Problem& problem : problems) text += "\n  " + problem.line();
  return text;
}

}  // namespace

std::string_view fault_name(Fault fault) {
  switch (fault) {
    case Fault::usage:
      return "usage";
    case Fault::refused:
      return "refused";
    case Fault::system:
      return "system";
    case Fault::image:
      return "image";
    case Fault::timeout:
      return "timeout";
    case Fault::internal:
      return "internal";
  }
  return "internal";
}

Step::Step(std::string text) {
  open_steps().push_back(std::move(text));
}
Step::~Step() {
  open_steps().pop_back();
}
const std::vector<std::string>& Step::trail() {
  return open_steps();
}

Error::Error(Fault fault, std::string reason, std::string remedy, int code, std::source_location where)
    : fault_(fault),
      reason_(std::move(reason)),
      remedy_(std::move(remedy)),
      line_(one_line(open_steps(), reason_, remedy_)),
      trail_(open_steps()),
      code_(code),
      where_(where) {}

std::string Error::object() const {
  return fmt::format("{}", fmt::join(trail_, " > "));
}

std::string Error::place() const {
  const char* file = std::strrchr(where_.file_name(), '/');
  return fmt::format("{}:{}", file ? file + 1 : where_.file_name(), where_.line());
}

std::string Problem::line() const {
  return fmt::format("{}: {}{}{}", object, reason, remedy.empty() ? "" : "; ", remedy);
}

ProblemList::ProblemList(Fault fault, std::string summary, std::vector<Problem> problems, std::source_location where)
    : Error(fault, lines_of(summary, problems), {}, 0, where), problems_(std::move(problems)) {}

}  // namespace mcr
