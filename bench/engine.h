// The engines behind one face: their command lines, and what they say about their own times. "none" does nothing for a
// while: what is seen then is the machine's own noise.
#pragma once

#include <map>
#include <string>

#include "bench/settings.h"
#include "bench/victim.h"

namespace bench {

// One operation: its wall time from outside, and by name the times that the engine reports itself, all in ms.
// cpu: user and system time of the engine's process and of what it waited for.
struct Sample {
  double milliseconds = 0;
  std::map<std::string, double> phases;
};

enum class Brand { mini_criu, criu, none };

class Engine {
 public:
  Engine(Brand brand, const Settings& settings, std::string images, bool sync);

  const std::string& name() const { return name_; }
  // Ends the program, or lets it go on. `options`: further ones, which all engines know.
  Sample dump(pid_t pid, bool leave_running, const std::vector<std::string>& options) const;
  Sample restore(const std::vector<std::string>& options) const;

 private:
  Sample run(std::vector<std::string> command) const;
  void remove_images() const;

  Brand brand_;
  bool sync_;
  std::string name_, program_, images_, scratch_;
};

}  // namespace bench
