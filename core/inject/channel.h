// The line to a parasite, in a victim or in a process being restored: runs batches there and passes descriptors.
// Used by the thread that holds the tracee. Errors: the failed call with its name and errno, or that the process ended.
#pragma once

#include <functional>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/inject/batch.h"
#include "core/sys/process.h"
#include "core/trace/tracee.h"

namespace mcr::inject {

class Channel {
 public:
  Channel(HostPid pid, UniqueFd socket, RemoteAddr base, size_t data_bytes);

  Area area() const { return area_; }
  Batch batch() const { return Batch(area_); }
  // A small one at the end of the area, for while the buffers of another are still needed.
  Batch small_batch() const { return Batch({area_.base + (area_.bytes - kSmallBytes), kSmallBytes}); }
  // Executes the batch; throws at the first failed call that was not allowed to fail.
  void run(Batch& batch);
  // Starts without waiting, so that we can work meanwhile; finish() collects.
  void start(Batch& batch);
  void finish(Batch& batch);
  // Sends descriptors; returns their numbers over there (close-on-exec), in order. At most kMaxDescriptors at a time.
  std::vector<int> send(std::span<const int> fds);
  std::vector<int> send_all(std::span<const int> fds);  // however many
  // One descriptor that the parasite closes should we vanish.
  int lend(int fd);
  void set_tracee(trace::Tracee* tracee) { tracee_ = tracee; }
  // Asked before any call of a batch is given to the parasite; throws to forbid it.
  using Guard = std::function<void(const char* name, const parasite::Call& call)>;
  void set_guard(Guard guard) { guard_ = std::move(guard); }
  void set_deadline(std::chrono::milliseconds limit) { limit_ = limit; }
  void go();  // lets the entry code enter the parasite
  void close() { socket_.reset(); }
  HostPid pid() const { return pid_; }

 private:
  static constexpr size_t kSmallBytes = 4096;
  std::vector<int> pass(uint32_t command, std::span<const int> fds);
  parasite::Reply await_reply();

  HostPid pid_;
  UniqueFd socket_;
  RemoteAddr base_;
  Area area_;
  trace::Tracee* tracee_ = nullptr;
  Guard guard_;
  std::chrono::milliseconds limit_{600'000};
};

}  // namespace mcr::inject
