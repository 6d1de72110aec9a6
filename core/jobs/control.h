// The line between commands and a job's supervisor: a socket in the job's folder, one message each way for a request.
// Only the job's user and root are listened to. Throws Error unless said otherwise.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/jobs/job_folder.h"
#include "core/sys/process.h"

namespace mcr::jobs {

// The supervisor's end. Never throws for what another process does: a bad or vanished one is dropped.
class ControlServer {
 public:
  // Replaces the socket of a supervisor that is gone: the caller holds the job's lock.
  explicit ControlServer(const JobFolder& job);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  std::vector<int> descriptors() const;  // to be watched
  struct Asked {
    uint64_t connection = 0;
    job::Request request;
  };
  std::vector<Asked> take_requests();                           // without waiting
  void answer(uint64_t connection, const job::Answer& answer);  // and hang up

 private:
  void accept_all();
  std::string folder_;
  UniqueFd listener_;
  struct Connection {
    uint64_t id = 0;  // never used again, unlike a descriptor
    UniqueFd socket;
  };
  std::vector<Connection> connections_;
  uint64_t next_id_ = 1;
};

// A command's end.
class ControlLine {
 public:
  // nullopt: nobody listens (the supervisor has ended meanwhile).
  static std::optional<ControlLine> open(const JobFolder& job);
  bool ask(const job::Request& request);  // false: it has ended
  int descriptor() const { return socket_.get(); }
  // nullopt: the deadline is reached, or the supervisor has ended; has_ended() tells which.
  std::optional<job::Answer> wait(const sys::Deadline& deadline);
  bool has_ended() const { return ended_; }

 private:
  explicit ControlLine(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
  bool ended_ = false;
};

}  // namespace mcr::jobs
