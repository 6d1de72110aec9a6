// The one error type of the engine, and the trail of steps that leads to it.
//
// A function that can fail for reasons outside the program throws Error. Expected outcomes (a thread that
// ended meanwhile, an optional kernel feature) are values, not errors. Thread: any; the trail is per thread.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace mcr {

// What kind of failure it is; decides the exit code and how a script may react.
enum class Fault {
  usage,    // the command line is wrong: exit code 2
  refused,  // the target or the host cannot do this; nothing was touched
  system,   // a system call failed
  image,    // an image is missing, damaged or foreign
  timeout,  // the time limit was reached
  internal  // a defect of this program
};

std::string_view fault_name(Fault fault);

// One open step ("dump", "pid 4711", "fd 7 eventfd"): a breadcrumb that an Error thrown below it copies.
class Step {
 public:
  explicit Step(std::string text);
  template <typename... Args>
  Step(fmt::format_string<Args...> format, Args&&... args) : Step(fmt::format(format, std::forward<Args>(args)...)) {}
  ~Step();
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  static const std::vector<std::string>& trail();
};

class Error : public std::exception {
 public:
  Error(Fault fault, std::string reason, std::string remedy = {}, int code = 0,
        std::source_location where = std::source_location::current());

  const char* what() const noexcept override { return line_.c_str(); }  // "trail: reason; remedy"
  Fault fault() const { return fault_; }
  const std::string& reason() const { return reason_; }
  const std::string& remedy() const { return remedy_; }  // what the user can do about it; may be empty
  const std::vector<std::string>& trail() const { return trail_; }
  std::string object() const;         // the steps joined: which object it is about
  int code() const { return code_; }  // errno value, 0 when no system call was involved
  const std::source_location& where() const { return where_; }
  std::string place() const;  // "file.cc:123"

 private:
  Fault fault_;
  std::string reason_, remedy_, line_;
  std::vector<std::string> trail_;
  int code_;
  std::source_location where_;
};

// Several problems found before anything was created, reported as one error: one line each.
struct Problem {
  std::string object, reason, remedy;
  std::string line() const;
};

class ProblemList : public Error {
 public:
  ProblemList(Fault fault, std::string summary, std::vector<Problem> problems,
              std::source_location where = std::source_location::current());
  const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

}  // namespace mcr
