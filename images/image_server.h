// Gives an image to those who restore it elsewhere: images/far_protocol.h. One thread for each connection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/base/progress.h"

namespace mcr::images {

struct ServerReport {
  uint64_t bytes = 0;  // of files that were sent
  uint64_t connections = 0;
};

class ImageServer {
 public:
  // Opens the image and checks its inventory. Refuses one that builds upon others.
  explicit ImageServer(const std::string& directory);
  ~ImageServer();
  ImageServer(const ImageServer&) = delete;
  ImageServer& operator=(const ImageServer&) = delete;

  // Serves those who come to the listener until one of them says that it has all. progress: outlives the call, or null.
  ServerReport serve(int listener, Progress* progress);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mcr::images
