// The engines behind one face: their command lines, and what they say about their own times. "none" does nothing for a
// while: what is seen then is the machine's own noise.
#pragma once

#include <map>
#include <string>

#include "bench/settings.h"
#include "bench/victim.h"

namespace bench {

// One operation: its wall time from outside, and by name the times that the engine reports itself, all in ms.
struct Sample {
  double milliseconds = 0;
  std::map<std::string, double> phases;
};

enum class Brand { mini_criu, criu, none };

class Engine {
 public:
  Engine(Brand brand, const Settings& settings, std::string images, bool sync);

  const std::string& name() const { return name_; }
  // Ends the program, or lets it go on.
  Sample dump(pid_t pid, bool leave_running) const;
  Sample restore() const;

 private:
  Sample run(std::vector<std::string> command) const;
  void remove_images() const;

  Brand brand_;
  bool sync_;
  std::string name_, program_, images_, scratch_;
};

}  // namespace bench
