// --pidfile: refused when it exists, proved to be writable before anything is restored, complete when it appears.
#pragma once

#include <string>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"

namespace mcr::cli {

class PidFile {
 public:
  explicit PidFile(const std::string& path);  // throws Error
  ~PidFile();                                 // unpublished: leaves nothing behind
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;
  void publish(HostPid pid);

 private:
  std::string path_, draft_;
  UniqueFd fd_;
  bool published_ = false;
};

}  // namespace mcr::cli
