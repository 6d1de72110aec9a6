// The line to a parasite, in a victim or in a process being restored: runs batches there and passes descriptors.
// Used by the thread that holds the tracee, or by another one with a desk at which it asks that one. Errors: the failed
// call with its name and errno, or that the process ended.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/inject/batch.h"
#include "core/sys/process.h"
#include "core/trace/tracee.h"
#include "core/trace/tracer_desk.h"

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
  bool has_answer() const;  // finish() will not have to wait
  // Sends descriptors; returns their numbers over there (close-on-exec), in order. At most kMaxDescriptors at a time.
  std::vector<int> send(std::span<const int> fds);
  std::vector<int> send_all(std::span<const int> fds);  // however many
  // One descriptor that the parasite closes should we vanish.
  int lend(int fd);
  // A descriptor that a system call of the program makes, for us: it does not keep its own, whatever becomes of us.
  // Without one: the errno of the call.
  std::pair<UniqueFd, int> take_made(const char* what, long number, std::initializer_list<uint64_t> args, int pidfd);
  // The thread that runs the parasite. Whoever has stopped it meanwhile leaves it to the next batch to let it go on.
  void set_tracee(trace::Tracee* tracee) { tracee_ = tracee; }
  void set_desk(trace::TracerDesk* desk) { desk_ = desk; }
  // Asked before any call of a batch is given to the parasite; throws to forbid it.
  using Guard = std::function<void(const char* name, const parasite::Call& call)>;
  void set_guard(Guard guard) { guard_ = std::move(guard); }
  void set_deadline(std::chrono::milliseconds limit) { limit_ = limit; }
  // As start(), with a batch that closes the other end and never returns; waits until it has been closed.
  void start_last(Batch& batch);
  void go();  // lets the entry code enter the parasite
  void close() { socket_.reset(); }
  HostPid pid() const { return pid_; }
  // Nothing is being executed, and the parasite has nothing to close but its socket.
  bool is_bare() const { return is_idle_ && !has_lent_; }

 private:
  static constexpr size_t kSmallBytes = 4096;
  std::vector<int> pass(uint32_t command, std::span<const int> fds);
  std::optional<parasite::Reply> await_message();  // nullopt: the other end was closed
  parasite::Reply await_reply();
  void wake();

  HostPid pid_;
  UniqueFd socket_;
  RemoteAddr base_;
  Area area_;
  trace::Tracee* tracee_ = nullptr;
  bool is_idle_ = true, has_lent_ = false;
  trace::TracerDesk* desk_ = nullptr;
  Guard guard_;
  std::chrono::milliseconds limit_{600'000};
};

}  // namespace mcr::inject
