// What stands in the way of an operation. Whoever looks wants the first obstacle, which is thrown, or all of them,
// which are collected; the checks are the same, and need not know. Thread: one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/ids.h"

namespace mcr {

struct Obstacle {
  Problem problem;
  HostPid pid;  // 0: it is not about one process
  int fd = -1;  // -1: nor about a descriptor
  Fault fault = Fault::refused;
};

class Obstacles {
 public:
  enum class Wanted { first, all };
  explicit Obstacles(Wanted wanted = Wanted::first);

  bool wants_all() const { return wanted_ == Wanted::all; }
  // Calls the check. True: nothing was in the way.
  template <typename Check>
  bool pass(const Check& check) {
    if (!wants_all()) {
      check();
      return true;
    }
    try {
      check();
      return true;
    } catch (const Error& error) {
      note(error);
      return false;
    }
  }
  // No obstacle, but the user should know: into the log, or collected.
  void warn(std::string_view module, std::string text);

  const std::vector<Obstacle>& found() const { return found_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  bool any() const { return !found_.empty(); }
  size_t count() const { return found_.size(); }
  void forget_since(size_t count);  // what was found after so many: it was about something that has gone
  void forget();
  // Throws all of them as one error, if there are any.
  void throw_if_any() const;

  // While it lives, what is found is about that process, or that descriptor of it.
  class About {
   public:
    About(Obstacles& all, HostPid pid) : About(all, pid, -1) {}
    About(Obstacles& all, int fd) : About(all, all.pid_, fd) {}
    ~About() { all_.pid_ = pid_, all_.fd_ = fd_; }
    About(const About&) = delete;
    About& operator=(const About&) = delete;

   private:
    About(Obstacles& all, HostPid pid, int fd) : all_(all), pid_(all.pid_), fd_(all.fd_) {
      all_.pid_ = pid, all_.fd_ = fd;
    }
    Obstacles& all_;
    HostPid pid_;
    int fd_;
  };

 private:
  void note(const Error& error);  // throws it again when it is none of the object's own

  Wanted wanted_;
  size_t outside_;  // steps that were open before; no part of an object's name
  HostPid pid_;
  int fd_ = -1;
  std::vector<Obstacle> found_;
  std::vector<std::string> warnings_;
};

}  // namespace mcr
