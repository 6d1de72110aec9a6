// Standard streams that may be pipes, sockets or files, and files whose pages are given back as they are used. Every
// function throws Error unless its comment names an expected outcome. Callable from any thread.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace mcr::sys {

// All of it, waiting as long as it takes, in non-blocking mode too. When nobody reads any more the Error has the code
// of broken_pipe; the SIGPIPE of it does not arrive, and how the process treats that signal stays as it is.
void write_stream(int fd, const void* data, size_t size);
size_t read_stream(int fd, void* data, size_t size);  // waits; 0 at its end
void sync_stream(int fd);                             // fsync(2); nothing where it does not apply (pipes, sockets)

// dup2(2), for 0 to 2: programs that are started get it.
void become_standard(int fd, int number);

void punch_hole(int fd, uint64_t offset, uint64_t bytes);  // FALLOC_FL_PUNCH_HOLE

// While it lives, this thread has all signals blocked, and so will threads that it starts.
class NoSignals {
 public:
  NoSignals();
  ~NoSignals();
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t old_;
};

// A read-only window of a file, its pages present. The offset is a multiple of the page size.
class Window {
 public:
  Window(int fd, uint64_t offset, uint64_t bytes);
  ~Window();
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  const std::byte* data() const { return static_cast<const std::byte*>(address_); }
  std::span<const std::byte> bytes() const { return {data(), bytes_}; }

 private:
  void* address_;
  uint64_t bytes_;
};

}  // namespace mcr::sys
