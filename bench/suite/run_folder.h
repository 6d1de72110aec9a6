// Where a run keeps its files, and what ends it early.
#pragma once

#include <string>
#include <vector>

namespace bench {

// A folder of its own in `parent`, removed at the end. Throws Failure.
class RunFolder {
 public:
  explicit RunFolder(const std::string& parent);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// From here on SIGINT, SIGTERM and SIGHUP end what was started, remove these folders and end this process. To be called
// once, before there are other threads or processes; start() gives its processes no blocked signals.
void end_cleanly_on_signals(std::vector<std::string> folders);

}  // namespace bench
