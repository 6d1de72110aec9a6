// An image that goes out through standard output, or comes in through standard input.
#pragma once

#include <memory>

#include "core/base/progress.h"
#include "core/base/unique_fd.h"
#include "images/received_image.h"
#include "images/store.h"

namespace mcr::cli {

inline constexpr char kStream[] = "-";  // as the name of an image folder

class OutputStream : public images::ByteSink {
 public:
  // Takes standard output: whatever else is printed goes to standard error from here on, what scripts print too. A
  // terminal is refused (usage). sync: a file is on the disk when it is complete.
  explicit OutputStream(bool sync);
  void write(const void* data, size_t size) override;
  void complete() override;

 private:
  UniqueFd fd_;
  bool sync_;
  uint64_t written_ = 0;
};

// Reads standard input to the end record, and replaces it by /dev/null. A terminal is refused (usage).
std::shared_ptr<const images::ReceivedImage> receive_image(Progress* progress = nullptr);

}  // namespace mcr::cli
