// A file that a command makes: refused when it exists, whole when it appears.
#pragma once

#include <string>

#include "core/base/unique_fd.h"

namespace mcr::cli {

class OutputFile {
 public:
  // Opens a draft beside it. replaces: an existing file is written over, but not before publish(). Throws Error.
  OutputFile(const std::string& path, bool replaces);
  ~OutputFile();  // unpublished: leaves nothing behind
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  int fd() const { return fd_.get(); }
  void publish();

 private:
  std::string path_, draft_;
  bool replaces_;
  UniqueFd fd_;
  bool published_ = false;
};

}  // namespace mcr::cli
