// An image that is sent to a server on another host as it is made (images/image_taker.h). One thread.
#pragma once

#include "core/sys/tcp.h"
#include "images/store.h"

namespace mcr::images {

class FarSink : public ByteSink {
 public:
  explicit FarSink(const sys::TcpPlace& place);  // connects
  void write(const void* data, size_t size) override;
  // Waits until the server has checked the image, and has it on its disk. Throws what it says otherwise.
  void complete() override;

 private:
  bool is_taken(std::string& why);
  void require_taken();

  const std::string name_;
  UniqueFd fd_;
  uint64_t written_ = 0;
};

}  // namespace mcr::images
